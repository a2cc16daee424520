"""What all commands share: messages on stderr, one JSON summary on stdout, progress, exit codes."""

from __future__ import annotations

import functools
import inspect
import io
import logging
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar, get_type_hints

from fsr_deploy._util.cores import bound_libraries
from fsr_deploy._util.imports import import_fault
from fsr_deploy._util.json_records import json_text
from fsr_deploy._util.log import LOGGER, PLAIN_PROGRESS_SECONDS, reporting, say
from fsr_deploy.errors import ExitCode, FsrError, InputError

T = TypeVar("T")
R = TypeVar("R")

# Control characters, line ends, direction marks, and bytes of names that are not text. A line end before an indented
# line is allowed: it is a list of ours, and no file name can imitate a new message that way.
_UNPRINTABLE = re.compile("[\0-\t\v-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]|\n(?!  )")


def printable(message: str) -> str:
    r"""Return a message with control characters written as \x1b or \u202e, so that a terminal shows them."""
    return _UNPRINTABLE.sub(lambda found: _escaped(ord(found[0])), message)


def _escaped(code: int) -> str:
    byte = code - 0xDC00 if 0xDC80 <= code <= 0xDCFF else code  # os.fsdecode's way to keep a byte that is no text
    return f"\\x{byte:02x}" if byte < 0x100 else f"\\u{byte:04x}"


class Terminal(logging.Handler):
    """Prints the library's messages on stderr, one line each, so that stdout stays machine-readable."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one message, a warning marked as such."""
        mark = "warning: " if record.levelno >= logging.WARNING else ""
        _print_line(mark + record.getMessage())


def _print_line(message: str) -> None:
    """Print one line for a person.

    If it cannot be written (closed stream, full disk, pipe without a reader), the message is lost and work continues.
    """
    if sys.stderr is None:
        return
    text = printable(message)
    # RuntimeError: a signal came while another line was being printed.
    with suppress(OSError, ValueError, RuntimeError):
        try:
            print(text, file=sys.stderr, flush=True)
        except UnicodeEncodeError:
            print(text.encode("ascii", "backslashreplace").decode(), file=sys.stderr, flush=True)


@contextmanager
def on_terminal() -> Iterator[None]:
    """Show the messages and the progress of the block as commands do."""
    handler, level, propagate = Terminal(), LOGGER.level, LOGGER.propagate
    if any(isinstance(other, Terminal) for other in LOGGER.handlers):  # a command within a command
        handler.setLevel(logging.CRITICAL + 1)
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.INFO)
    LOGGER.propagate = False
    try:
        with reporting(terminal_progress):
            yield
    finally:
        LOGGER.removeHandler(handler)
        LOGGER.setLevel(level)
        LOGGER.propagate = propagate


def show(text: str) -> None:
    """Print a command's result for a person, of any number of lines, to stdout; raises as ``print_json``."""
    with _to_stdout():
        print("\n".join(map(printable, text.split("\n"))), flush=True)


def print_json(summary: dict[str, Any]) -> None:
    """Print the one machine-readable summary of a command to stdout, in ASCII; a number that is not finite is null.
    Raises InputError where it cannot be written; a closed pipe is ignored.
    """
    with _to_stdout():
        print(json_text(summary, indent=2), flush=True)


@contextmanager
def _to_stdout() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        pass
    except OSError as error:
        raise InputError(f"standard output: cannot be written: {error.strerror}") from error


def read_stdin() -> bytes:
    """Return all of standard input, nothing where it is closed."""
    return sys.stdin.buffer.read() if sys.stdin else b""


@contextmanager
def terminal_progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show progress with rate and time left; yields ``advance(count)``.

    A bar on a terminal, a plain line every few seconds elsewhere.
    """
    if sys.stderr is not None and sys.stderr.isatty():
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


@contextmanager
def finish_on_interrupt(message: str) -> Iterator[threading.Event]:
    """Yield an event that the first Ctrl-C or SIGTERM sets, with a message, instead of ending the block; the second
    ends it.

    Outside the main thread, where Python delivers no signals, nothing sets it.
    """
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def first(signal_number: int, frame: object) -> None:
        put_back()
        stop.set()
        say(message)

    def put_back() -> None:
        for number, handler in previous.items():
            signal.signal(number, handler)

    # None: a handler that is not Python's and cannot be put back by it.
    previous = {number: signal.getsignal(number) or signal.SIG_DFL for number in (signal.SIGINT, signal.SIGTERM)}
    for number in previous:
        signal.signal(number, first)
    try:
        yield stop
    finally:
        put_back()


def options_from(arguments: type[T]) -> Callable[[Callable[[T], R]], Callable[..., R]]:
    """Give a function that takes a dataclass a parameter for each field, so that a command's options are fields."""

    def spread(function: Callable[[T], R]) -> Callable[..., R]:
        def from_words(**words: Any) -> R:
            return function(arguments(**words))

        hints = get_type_hints(arguments, include_extras=True)
        fields = inspect.signature(arguments).parameters.values()
        signature = inspect.Signature([field.replace(annotation=hints[field.name]) for field in fields])
        from_words.__signature__ = signature  # type: ignore[attr-defined]
        from_words.__doc__, from_words.__annotations__ = function.__doc__, hints
        return from_words

    return spread


def command(function: Callable[..., ExitCode | None]) -> Callable[[], None]:
    """Turn an annotated function into a command's ``main``: options by typer, errors as one line and an exit code."""
    import typer
    from typer.core import TyperCommand

    class Command(TyperCommand):
        """A command whose messages about its arguments show no control characters."""

        def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
            try:
                return super().parse_args(ctx, args)
            except Exception as error:
                if hasattr(error, "message"):
                    error.message = printable(error.message)
                raise

    @functools.wraps(function)
    def guarded(*args: Any, **kwargs: Any) -> None:
        _open_streams()
        bound_libraries()
        with on_terminal():
            code = _run(function, *args, **kwargs)
        _drop_what_is_left()
        raise typer.Exit(int(code))

    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command(cls=Command)(guarded)
    return app


def _run(function: Callable[..., ExitCode | None], *args: Any, **kwargs: Any) -> ExitCode:
    """Run a command; an error that a user can act on becomes one line and its exit code."""
    try:
        code = function(*args, **kwargs) or ExitCode.DONE
        with _to_stdout():
            sys.stdout.flush()
        return code
    except FsrError as error:
        say(f"error: {error}")
        return error.exit_code
    except Exception as error:
        if (missing := import_fault(error)) is None:
            raise
        say(f"error: {missing}")
        return missing.exit_code
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED


def _open_streams() -> None:
    """Replace streams that were closed before the start (2>&-), and let stdout take any name.

    Otherwise the next file would get a closed stream's number, and what libraries print would go into that file.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, _nowhere(mode))
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _drop_what_is_left() -> None:
    """Discard what could not be printed: at exit, Python would try again and change the exit code."""
    for name in ("stdout", "stderr"):
        try:
            getattr(sys, name).flush()
        except (OSError, ValueError):
            setattr(sys, name, _nowhere("w"))


def _nowhere(mode: str) -> Any:
    return os.fdopen(os.open(os.devnull, os.O_RDWR), mode)
