"""Rows of figures in a file of JSON lines: each is on the disk as soon as it is measured, and none is there twice.

Needs nothing but Python, so that another Python than the one with TensorRT can write to the same file.
"""

from __future__ import annotations

import json
import os
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Row = dict[str, Any]


def read_rows(path: Path) -> list[Row]:
    """Return the rows of a file, none where there is no file; a line that was cut off as it was written is left out."""
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return []
    rows = []
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows


def append_row(path: Path, row: Row) -> None:
    """Add a row to a file, and return when it is on the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        size = os.fstat(handle).st_size
        cut_off = size > 0 and os.pread(handle, 1, size - 1) != b"\n"
        os.write(handle, b"\n" * cut_off + json.dumps(row).encode() + b"\n")
        os.fsync(handle)
    finally:
        os.close(handle)


class Rows:
    """The rows of one question in a file that may hold other questions' too.

    With ``go_on``, rows that the file has already are not measured again; without, the file begins anew. ``failures``
    counts what could not be measured since this was made.
    """

    def __init__(self, path: Path, question: str, *, go_on: bool = False) -> None:
        self.path = path
        self.question = question
        self.failures = 0
        if not go_on:
            path.unlink(missing_ok=True)

    def has(self, **key: Any) -> bool:
        """Tell whether a figure is there: a row of this question with these values that did not fail."""
        return any(_is(row, {"question": self.question, **key}) and "failed" not in row for row in read_rows(self.path))

    def note(self, values: Row) -> None:
        """Write down the circumstances of the figures that follow, unless the very same are there."""
        row = {"question": "circumstances", "of": self.question, **values}
        if row not in read_rows(self.path):
            append_row(self.path, row)

    def add(self, key: Row, values: Row) -> None:
        """Write and print a row: ``key`` says what was measured, ``values`` are the figures."""
        row = {"question": self.question, **key, **values}
        self.failures += "failed" in values
        if not self.has(**key) and row not in read_rows(self.path):
            append_row(self.path, row)
        show({**key, **values})

    def measure(self, key: Row, figures: Callable[[], Row]) -> None:
        """Add a row unless it is there; what goes wrong becomes a row that says why, and the next figure can come."""
        if not self.has(**key):
            with self.attempt(**key):
                self.add(key, figures())

    @contextmanager
    def attempt(self, **key: Any) -> Iterator[None]:
        """Turn an error of the block into a row that says why; its traceback goes to stderr."""
        try:
            yield
        except Exception as error:
            traceback.print_exc()
            self.add(key, {"failed": reason_of(error)})


def reason_of(error: Exception) -> str:
    """Return an error's words in a line or some, with its class where that is not one of ours."""
    ours = type(error).__module__.startswith("fsr_deploy")
    return str(error) if ours and str(error) else f"{type(error).__name__}: {error}"[:2000]


def show(row: Row) -> None:
    """Print a row as soon as it is measured."""
    print("  ".join(f"{key} {_short(value)}" for key, value in row.items()), flush=True)


def _is(row: Row, key: Row) -> bool:
    return all(name in row and row[name] == value for name, value in key.items())


def _short(value: Any) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text if len(text) < 300 else f"{text[:300]}..."
