"""What a day has measured: its rows, and why a figure is not among them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.day.journal import DONE, Journal
from benchmarks.rows import Row, read_rows


class Figures:
    """The rows of a file, and the journal of the steps that wrote them."""

    def __init__(self, path: Path, journal: Journal) -> None:
        self._rows = read_rows(path)
        self._journal = journal

    def all(self, question: str, **key: Any) -> list[Row]:
        """Return the rows of a question with these values that did not fail, in the order of measuring."""
        return [row for row in self._with(question, key) if "failed" not in row]

    def one(self, question: str, **key: Any) -> Row | None:
        """Return the last of those rows, None where there is none."""
        found = self.all(question, **key)
        return found[-1] if found else None

    def why_not(self, steps: Sequence[str], question: str, **key: Any) -> str:
        """Return why there is no figure: the row that failed, or else what became of the steps that would have it."""
        failed = [row["failed"] for row in self._with(question, key) if "failed" in row]
        if failed:
            return str(failed[-1])
        ends = [self._journal.last(step) for step in steps]
        told = [reason or outcome for outcome, reason in ends if outcome not in ("", DONE)]
        return told[0] if told else "no step was run" if not any(outcome for outcome, _ in ends) else "no such row"

    def _with(self, question: str, key: dict[str, Any]) -> list[Row]:
        wanted = {"question": question, **key}
        return [row for row in self._rows if all(row.get(name) == value for name, value in wanted.items())]
