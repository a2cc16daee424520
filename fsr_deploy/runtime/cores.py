"""How many processor cores this process may use."""

from __future__ import annotations

import os
from pathlib import Path

TOPOLOGY = Path("/sys/devices/system/cpu")


def usable_cores() -> int:
    """Return the number of logical cores that this process may run on."""
    return len(_allowed())


def physical_cores() -> int:
    """Return the number of physical cores that this process may run on; hyper-threads of one core count once."""
    return len({_siblings(cpu) for cpu in _allowed()})


def _allowed() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def _siblings(cpu: int) -> str:
    path = TOPOLOGY / f"cpu{cpu}" / "topology" / "thread_siblings_list"
    return path.read_text() if path.is_file() else str(cpu)
