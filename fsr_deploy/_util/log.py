"""Messages and progress of the library: messages through ``logging``, progress through a callback.

Messages go to the logger ``fsr_deploy``, INFO for what is going on and WARNING for what a person should not miss. The
commands print them; in Python they are shown as ``logging`` is set up. Progress goes nowhere unless ``reporting`` names
a place for it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar

LOGGER = logging.getLogger("fsr_deploy")

PLAIN_PROGRESS_SECONDS = 5.0  # between progress lines

# Takes what is counted, how many are done and how many there are.
ProgressCallback = Callable[[str, int, int], None]
# Shows one count from its start to its end: takes what is counted and how many there are, yields ``advance(count)``.
Reporter = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]


def say(message: str) -> None:
    """Log what happens now, in one line."""
    LOGGER.info("%s", message)


def warn(message: str) -> None:
    """Log a warning, in one line."""
    LOGGER.warning("%s", message)


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Count towards ``total``; yields ``advance(count)``, which calls the reporter of this context."""
    reporter = _reporter.get()
    with reporter(what, total) as advance:
        yield advance


@contextmanager
def reporting(reporter: Reporter | None) -> Iterator[None]:
    """Send the progress of the block to ``reporter``; None keeps the current one."""
    if reporter is None:
        yield
        return
    token = _reporter.set(reporter)
    try:
        yield
    finally:
        _reporter.reset(token)


def to_callback(callback: ProgressCallback) -> Reporter:
    """Return a reporter that calls ``callback(what, done, total)`` at the start and after each step."""

    @contextmanager
    def report(what: str, total: int) -> Iterator[Callable[[int], None]]:
        done = 0

        def advance(count: int) -> None:
            nonlocal done
            done += count
            callback(what, done, total)

        callback(what, 0, total)
        yield advance

    return report


@contextmanager
def _silent(what: str, total: int) -> Iterator[Callable[[int], None]]:
    yield lambda count: None


_reporter: ContextVar[Reporter] = ContextVar("reporter", default=_silent)
