"""The TensorRT library itself: imported when asked for, its version, and what it says."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from types import ModuleType
from typing import Any

from fsr_deploy._util import imports
from fsr_deploy.errors import MissingError
from fsr_deploy.runtime.tensorrt.flavour import TENSORRT, Flavour

KEPT_LINES = 200
SHOWN_LINES = 6


@cache
def load(flavour: Flavour = TENSORRT) -> ModuleType:
    """Import a TensorRT; raises MissingError where it is not installed, is broken or too old."""
    trt = imports.load(flavour.module)
    if version(trt.__version__) < flavour.oldest:
        raise MissingError(
            f"{flavour.title} {trt.__version__} is too old; {'.'.join(map(str, flavour.oldest))} and later are "
            f"supported; upgrade it with: {imports.LIBRARIES[flavour.module].install}"
        )
    return trt


def version(text: str) -> tuple[int, ...]:
    """Return "10.16.1.11" as (10, 16, 1, 11); what follows the digits of a part ("8.6.1.post1") is left out."""
    parts = text.split(".")
    numbers = []
    for part in parts:
        if not part.isdigit():
            break
        numbers.append(int(part))
    return tuple(numbers)


@cache
def log(flavour: Flavour = TENSORRT) -> Any:
    """Return the one logger of a library in this process: it keeps the first that it is given, whatever comes later.

    An ``ILogger`` that prints nothing and passes on what TensorRT says to the ``operation`` that is under way.
    """
    trt = load(flavour)

    class Log(trt.ILogger):  # type: ignore[name-defined]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, msg: str) -> None:
            level = int(severity)
            if level <= int(trt.ILogger.Severity.WARNING):
                _hear(" ".join(msg.split()), is_error=level <= int(trt.ILogger.Severity.ERROR))
            else:
                _note(msg)

    return Log()


@dataclass(eq=False)
class _Operation:
    """What one operation of one thread has heard."""

    thread: int
    note: Callable[[str], None] | None = None
    warnings: deque[str] = field(default_factory=lambda: deque(maxlen=KEPT_LINES))
    errors: deque[str] = field(default_factory=lambda: deque(maxlen=KEPT_LINES))


_operations: list[_Operation] = []  # those that are under way, each thread's in the order of their beginning
_lock = threading.RLock()  # whatever Python frees meanwhile may have something to say too


@contextmanager
def operation(note: Callable[[str], None] | None = None) -> Iterator[None]:
    """Listen to TensorRT for one operation of this thread; ``said`` and the others are about the innermost one.

    ``note`` is called with each message below warning level, as it is; a build has tens of thousands of them.

    What TensorRT says in a thread belongs to that thread's operations. What it says in a thread of its own, as a
    builder has them, could belong to any: it is passed on to all.
    """
    listener = _Operation(threading.get_ident(), note)
    with _lock:
        _operations.append(listener)
    try:
        yield
    finally:
        with _lock:
            _operations.remove(listener)


def said() -> str:
    """Return the last errors of this thread's operation, or else warnings, in one line to end a message with."""
    heard = _current()
    return "; ".join(list(heard.errors or heard.warnings)[-SHOWN_LINES:]) or "TensorRT gave no reason"


def warnings() -> tuple[str, ...]:
    """Return the last warnings of this thread's operation, each once."""
    return tuple(dict.fromkeys(_current().warnings))[-SHOWN_LINES:]


def ran_out_of_memory() -> bool:
    """Tell whether the errors of this thread's operation are about memory."""
    return any("out of memory" in line.lower() or "outofmemory" in line.lower() for line in _current().errors)


def _current() -> _Operation:
    thread = threading.get_ident()
    with _lock:
        return next((one for one in reversed(_operations) if one.thread == thread), _Operation(thread))


def _hear(line: str, *, is_error: bool) -> None:
    thread = threading.get_ident()
    with _lock:
        own = [one for one in _operations if one.thread == thread]
        for one in own or _operations:
            (one.errors if is_error else one.warnings).append(line)


def _note(message: str) -> None:
    with _lock:
        listeners = [one.note for one in _operations if one.note]
    for note in listeners:
        note(message)
