"""The folder of a training run, from which it can be continued exactly after being killed at any moment. It holds
``run.json`` (the settings), ``state.pt`` (everything that the next step depends on), ``last.safetensors`` and
``best.safetensors`` (the weights), ``log.csv``, ``validation.csv`` and ``samples/`` (pictures).
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from fsr_deploy._util.files import replaced_file, write_file
from fsr_deploy.errors import InputError, UsageError
from fsr_deploy.images.codec import write_frame
from fsr_deploy.images.resize import Face

LAST, BEST = "last.safetensors", "best.safetensors"


class RunFolder:
    """The files of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def begin(self, settings: Mapping[str, Any], write: bool = True) -> dict[str, Any] | None:
        """Return the state to continue from; without one, write ``run.json`` and return None.

        Only one process should ``write``. Raises UsageError where the folder holds a run with other settings, whose
        weights would be lost.
        """
        if not (self.path / "state.pt").exists():
            if write:
                write_file(self.path / "run.json", (json.dumps(settings, indent=2) + "\n").encode())
            return None
        found = self._read_settings()
        if changed := sorted(key for key in {*found, *settings} if found.get(key) != settings.get(key)):
            key = changed[0]
            raise UsageError(
                f"{self.path}: holds a run with {key} {found.get(key)!r}, not {settings.get(key)!r}; "
                "name another folder with -o, or give the same options to continue it"
            )
        return self._read_state()

    def write_state(self, state: Mapping[str, Any]) -> None:
        """Replace ``state.pt``: tensors and plain data only, so that it loads with ``weights_only``."""
        with replaced_file(self.path / "state.pt") as temporary:
            torch.save(dict(state), temporary)

    def log(self, name: str, row: Mapping[str, float]) -> None:
        """Append a row to a CSV file, with its header where it is new; the first column is the step.

        Raises InputError where it cannot be written, a full disk included.
        """
        path = self.path / name
        values = [f"{value:.6g}" if isinstance(value, float) else value for value in row.values()]
        try:
            new = not path.exists()
            with path.open("a", newline="", encoding="utf-8") as stream:
                csv.writer(stream, lineterminator="\n").writerows([list(row), values] if new else [values])
        except OSError as error:
            raise InputError(f"{path}: cannot be written: {error.strerror or error}") from error

    def forget_after(self, step: int) -> None:
        """Drop the rows of steps that a killed run had logged but not saved; these steps are repeated."""
        for name in ("log.csv", "validation.csv"):
            path = self.path / name
            if step == 0:
                path.unlink(missing_ok=True)
            if not path.exists():
                continue
            header, *rows = path.read_text(encoding="utf-8").splitlines() or [""]
            whole = [row for row in rows if row.count(",") == header.count(",")]
            if kept := [row for row in whole if int(row.split(",")[0]) <= step]:
                write_file(path, ("\n".join((header, *kept)) + "\n").encode())
            else:
                path.unlink()  # it may be empty or end within its header, which is written again with its first row

    def picture(self, step: int, grid: Face) -> None:
        """Write a picture of samples."""
        write_frame(self.path / "samples" / f"step_{step:07d}.png", grid)

    def _read_settings(self) -> dict[str, Any]:
        path = self.path / "run.json"
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: cannot be read: {error}") from error
        if not isinstance(found, dict):
            raise InputError(f"{path}: not the settings of a run")
        return found

    def _read_state(self) -> dict[str, Any]:
        path = self.path / "state.pt"
        try:
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # a damaged pickle raises anything
            raise InputError(f"{path}: cut off or not the state of a run; remove it to start again") from error
        return state
