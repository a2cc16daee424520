"""What every command shares: messages on stderr, one JSON summary on stdout, progress, exit codes."""

from __future__ import annotations

import functools
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from fsr_deploy.errors import ExitCode, FsrError, UsageError
from fsr_deploy.schema import json_text

PLAIN_PROGRESS_SECONDS = 5.0


def say(message: str) -> None:
    """Print one line for a person; stderr, so that stdout stays machine-readable."""
    print(message, file=sys.stderr, flush=True)


def warn(message: str) -> None:
    """Print one line that a person should not miss."""
    say(f"warning: {message}")


def print_json(summary: dict[str, Any]) -> None:
    """Print the one machine-readable summary of a command to stdout; a number that is not finite is null."""
    print(json_text(summary, indent=2), flush=True)


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show progress with rate and time left; yields ``advance(count)``.

    A bar on a terminal, a plain line every few seconds elsewhere.
    """
    if sys.stderr.isatty():
        with _bar(what, total) as advance:
            yield advance
    else:
        yield _plain_lines(what, total)


@contextmanager
def _bar(what: str, total: int) -> Iterator[Callable[[int], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn(what),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    start = time.monotonic()
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(what, total=total, rate="")

        def advance(count: int) -> None:
            bar.advance(task, count)
            rate = bar.tasks[0].completed / max(time.monotonic() - start, 1e-9)
            bar.update(task, rate=f"{rate:.1f}/s")

        yield advance


def _plain_lines(what: str, total: int) -> Callable[[int], None]:
    start = shown = time.monotonic()
    done = 0

    def advance(count: int) -> None:
        nonlocal done, shown
        done += count
        now = time.monotonic()
        if now - shown >= PLAIN_PROGRESS_SECONDS and done < total:
            shown = now
            rate = done / (now - start)
            say(f"{what}: {done}/{total}, {rate:.1f}/s, {(total - done) / rate:.0f} s left")

    return advance


def refuse_unknown(option: str, value: str, known: tuple[str, ...]) -> None:
    """Raise UsageError where an option's value is not one of those known."""
    if value not in known:
        raise UsageError(f"{option} {value}: not one of {', '.join(known)}")


@contextmanager
def finish_on_interrupt(message: str) -> Iterator[threading.Event]:
    """Yield an event that the first Ctrl-C sets, with a message, instead of ending the block; the second ends it."""
    stop = threading.Event()

    def first(signal_number: int, frame: object) -> None:
        signal.signal(signal.SIGINT, previous)
        stop.set()
        say(message)

    previous = signal.signal(signal.SIGINT, first)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, previous)


def command(function: Callable[..., ExitCode | None]) -> Callable[[], None]:
    """Turn an annotated function into a command's ``main``: options by typer, errors as one line and an exit code."""
    import typer

    @functools.wraps(function)
    def guarded(*args: Any, **kwargs: Any) -> None:
        try:
            code = function(*args, **kwargs)
        except FsrError as error:
            say(f"error: {error}")
            raise typer.Exit(int(error.exit_code)) from error
        except KeyboardInterrupt as error:
            raise typer.Exit(int(ExitCode.INTERRUPTED)) from error
        raise typer.Exit(int(code or ExitCode.DONE))

    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command()(guarded)
    return app
