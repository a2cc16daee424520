"""What became of each step, in a file of JSON lines that a killed day leaves readable."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.rows import append_row, read_rows

DONE, FAILED, CUT_OFF, LEFT_BEHIND, LEFT_OUT = "done", "failed", "cut off", "left behind", "left out"
TRIES = 2


class Journal:
    """How the steps ended in a folder's days, this one and those before it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def note(self, step: str, outcome: str, reason: str = "", **facts: Any) -> None:
        """Write down a step's outcome, one of those above, and why."""
        append_row(self.path, {"step": step, "outcome": outcome, "reason": reason, **facts})

    def last(self, step: str) -> tuple[str, str]:
        """Return a step's last outcome and its reason; ("", "") for one that has none."""
        ends = self._of(step)
        return (ends[-1]["outcome"], ends[-1]["reason"]) if ends else ("", "")

    def is_done(self, step: str) -> bool:
        """Tell whether a step needs not be run again."""
        return any(row["outcome"] == DONE for row in self._of(step))

    def failures(self, step: str) -> int:
        """Count how often a step ended without being done; a day that was killed is not the step's fault."""
        return sum(row["outcome"] in (FAILED, CUT_OFF, LEFT_BEHIND) for row in self._of(step))

    def _of(self, step: str) -> list[dict[str, Any]]:
        return [row for row in read_rows(self.path) if row.get("step") == step and "outcome" in row]
