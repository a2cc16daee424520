"""Errors that a user can act on, each with the exit code its command ends with.

Every message says what is wrong, which file it concerns and what to do next.
Anything else that escapes a command is a defect and shows its traceback.
"""

from __future__ import annotations

from enum import IntEnum
from numbers import Integral


class ExitCode(IntEnum):
    """How a command ended; stable, so that scripts can rely on it."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    MISSING = 3
    BAD_INPUT = 4
    PARITY = 5
    PARTIAL = 6
    INTERRUPTED = 130


class FsrError(Exception):
    """Base of all errors that are shown as one message, without a traceback."""

    exit_code = ExitCode.BAD_INPUT


class UsageError(FsrError):
    """Options that contradict each other or name something unknown."""

    exit_code = ExitCode.USAGE


class MissingError(FsrError):
    """This machine lacks a GPU, a driver or a library; the message names the extra to install."""

    exit_code = ExitCode.MISSING


class DeviceError(FsrError):
    """The GPU failed during its work and cannot be used any more; the message is CUDA's or TensorRT's."""

    exit_code = ExitCode.FAILED


class InputError(FsrError):
    """A file or folder that cannot be used as it is; the message names it."""

    exit_code = ExitCode.BAD_INPUT


class ParityError(FsrError):
    """An engine that differs from the eager model by more than its budget."""

    exit_code = ExitCode.PARITY


def refuse_outside(option: str, value: object, least: int, most: int | None = None) -> None:
    """Raise UsageError where an option's value is not a whole number from ``least`` to ``most``, or with no end."""
    number = int(value) if isinstance(value, Integral) and not isinstance(value, bool) else None
    if number is None or number < least or (most is not None and number > most):
        raise UsageError(f"{option} {value}: give a whole number from {least} {'on' if most is None else f'to {most}'}")


def refuse_type(option: str, value: object, kinds: type | tuple[type, ...], wanted: str) -> None:
    """Raise UsageError where an option, from Python, was given something of another type than it takes."""
    if not isinstance(value, kinds):
        raise UsageError(f"{option} {value!r}: give {wanted}")


def refuse_unknown(option: str, value: str, known: tuple[str, ...]) -> None:
    """Raise UsageError where an option's value is not one of those known."""
    if value not in known:
        raise UsageError(f"{option} {value}: not one of {', '.join(known)}")
