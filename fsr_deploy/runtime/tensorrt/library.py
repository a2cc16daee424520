"""The TensorRT library itself: imported when asked for, its version, and what it says."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from types import ModuleType
from typing import Any

from fsr_deploy._util import imports
from fsr_deploy.errors import MissingError

OLDEST = (8, 6)
KEPT_LINES = 200
SHOWN_LINES = 6


@cache
def load() -> ModuleType:
    """Import TensorRT; raises MissingError where it is not installed, is broken or older than 8.6."""
    tensorrt = imports.load("tensorrt")
    if version(tensorrt.__version__) < OLDEST:
        raise MissingError(
            f"TensorRT {tensorrt.__version__} is too old; 8.6, 10 and 11 are supported; upgrade it with: "
            f"{imports.LIBRARIES['tensorrt'].install}"
        )
    return tensorrt


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
def log() -> Any:
    """Return the one logger of this process: TensorRT keeps the first that it is given, whatever comes later.

    An ``ILogger`` that prints nothing and passes on what TensorRT says at warning level and above to ``operation``.
    """
    trt = load()

    class Log(trt.ILogger):  # type: ignore[name-defined]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, msg: str) -> None:
            level = int(severity)
            if level <= int(trt.ILogger.Severity.WARNING):
                _hear(" ".join(msg.split()), is_error=level <= int(trt.ILogger.Severity.ERROR))

    return Log()


@dataclass(eq=False)
class _Operation:
    """What one operation of one thread has heard."""

    thread: int
    warnings: deque[str] = field(default_factory=lambda: deque(maxlen=KEPT_LINES))
    errors: deque[str] = field(default_factory=lambda: deque(maxlen=KEPT_LINES))


_operations: list[_Operation] = []  # those that are under way, each thread's in the order of their beginning
_lock = threading.RLock()  # whatever Python frees meanwhile may have something to say too


@contextmanager
def operation() -> Iterator[None]:
    """Listen to TensorRT for one operation of this thread; ``said`` and the others are about the innermost one.

    What TensorRT says in a thread belongs to that thread's operations. What it says in a thread of its own, as a
    builder has them, could belong to any: it is passed on to all.
    """
    listener = _Operation(threading.get_ident())
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
