"""The processes of a cluster of one's own: none of them outlives the run."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

PROC = Path("/proc")
PATIENCE_SECONDS = 3.0  # for them to end by themselves
_PAUSE_SECONDS = 0.05


def descendants(of: int) -> dict[int, str]:
    """Return the processes below one, with their start times, which tell them from later ones of the same number; none
    on a system without /proc.
    """
    parents = {pid: facts for pid in _numbers() if (facts := _facts(pid))}
    found: dict[int, str] = {}
    above = {of}
    while above:
        below = {pid: started for pid, (parent, started) in parents.items() if parent in above and pid not in found}
        found |= below
        above = set(below)
    return found


def end(processes: Mapping[int, str]) -> None:
    """Wait for processes to end, and kill those that do not."""
    late = time.monotonic() + PATIENCE_SECONDS
    while (alive := [pid for pid, started in processes.items() if _runs(pid, started)]) and time.monotonic() < late:
        time.sleep(_PAUSE_SECONDS)
    for pid in alive:
        with suppress(OSError):
            os.kill(pid, signal.SIGKILL)


def _runs(pid: int, started: str) -> bool:
    return (_facts(pid) or (0, ""))[1] == started


def _numbers() -> list[int]:
    return [int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit()] if PROC.is_dir() else []


def _facts(pid: int) -> tuple[int, str] | None:
    """Return a process's parent and start time; None for one that has ended, whether or not it was waited for."""
    try:
        # The name before the last ")" may hold anything.
        fields = (PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else (int(fields[1]), fields[19])
