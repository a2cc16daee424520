"""The TensorRT library itself: imported when asked for, its version, and what it says."""

from __future__ import annotations

from collections import deque
from functools import cache
from types import ModuleType
from typing import Any

from fsr_deploy import imports
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

    An ``ILogger`` that prints nothing but keeps what TensorRT says at warning level and above, for ``said`` to quote.
    """
    trt = load()

    class Log(trt.ILogger):  # type: ignore[name-defined]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.lines: deque[str] = deque(maxlen=KEPT_LINES)
            self.errors: deque[str] = deque(maxlen=KEPT_LINES)

        def log(self, severity: Any, msg: str) -> None:
            if int(severity) <= int(trt.ILogger.Severity.WARNING):
                self.lines.append(msg)
            if int(severity) <= int(trt.ILogger.Severity.ERROR):
                self.errors.append(msg)

    return Log()


def forget() -> None:
    """Start a new operation: what was said before is not its fault."""
    log().lines.clear()
    log().errors.clear()


def said() -> str:
    """Return the last errors that TensorRT logged since ``forget``, in one line to end a message with."""
    lines = list(log().errors or log().lines)[-SHOWN_LINES:]
    return "; ".join(" ".join(line.split()) for line in lines) or "TensorRT gave no reason"


def ran_out_of_memory() -> bool:
    """Tell whether the errors since ``forget`` are about memory."""
    return any("out of memory" in line.lower() or "outofmemory" in line.lower() for line in log().errors)
