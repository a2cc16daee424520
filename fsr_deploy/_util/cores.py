"""How many processor cores this process may use: by its affinity, and by the quota of the container it runs in."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

TOPOLOGY = Path("/sys/devices/system/cpu")
GROUPS = Path("/proc/self/cgroup")
MOUNTS = Path("/proc/self/mountinfo")


def usable_cores() -> int:
    """Return the number of logical cores that this process may keep busy."""
    return _within_quota(len(_allowed()))


def physical_cores() -> int:
    """Return the number of physical cores that this process may keep busy; hyper-threads of one core count once."""
    return _within_quota(len({_siblings(cpu) for cpu in _allowed()}))


def quota() -> float | None:
    """Return the container's limit in cores ("docker --cpus=1.5"), None without a limit."""
    limits = [limit for folder in _groups() for limit in (_limit_of(folder),) if limit is not None]
    return min(limits, default=None)


def bound_libraries() -> None:
    """Limit the threads of NumPy's BLAS and of PyTorch to the quota; by themselves they know only the affinity. Call it
    before they are imported. What the user has set is kept.
    """
    if quota() is not None:
        os.environ.setdefault("OMP_NUM_THREADS", str(physical_cores()))


def _within_quota(cores: int) -> int:
    limit = quota()
    return cores if limit is None else max(1, min(cores, math.ceil(limit)))


def _allowed() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def _siblings(cpu: int) -> str:
    path = TOPOLOGY / f"cpu{cpu}" / "topology" / "thread_siblings_list"
    return path.read_text() if path.is_file() else str(cpu)


def _groups() -> Iterator[Path]:
    """Yield the folders of this process's control groups that can limit its processor time, outer ones included.

    A container may see its own group as the root of the mount, or the host's whole tree: /proc/self/mountinfo tells
    which group is mounted where, /proc/self/cgroup the groups that the process is in ("0::/a/b", "4:cpu,cpuacct:/a").
    """
    memberships = [line.split(":", 2) for line in _lines(GROUPS) if line.count(":") >= 2]
    for line in _lines(MOUNTS):
        before, _, after = line.partition(" - ")
        fields, kind = before.split(), after.split()
        if len(fields) < 5 or not kind or kind[0] not in ("cgroup", "cgroup2"):
            continue
        root, mount = fields[3], Path(fields[4])
        for _, controllers, group in memberships:
            if (kind[0] == "cgroup2" and not controllers) or (
                kind[0] == "cgroup" and "cpu" in controllers.split(",") and "cpu" in kind[-1].split(",")
            ):
                inner = PurePosixPath(group)
                below = inner.relative_to(root) if inner.is_relative_to(root) else PurePosixPath()
                yield from (mount / part for part in (below, *below.parents) if ".." not in part.parts)


def _limit_of(folder: Path) -> float | None:
    """Return a group's own limit in cores: cpu.max is "MICROSECONDS|max PERIOD"; version 1 has a file for each."""
    for names in (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")):
        words = " ".join(line for name in names for line in _lines(folder / name)).split()
        if len(words) == 2 and all(word.isdecimal() for word in words) and int(words[1]) > 0:
            return int(words[0]) / int(words[1])
    return None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
