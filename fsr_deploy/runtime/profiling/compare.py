"""Two profiles of the same engines: what became slower by more than the noise of both runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fsr_deploy.errors import InputError
from fsr_deploy.runtime.profiling.record import EngineProfile, Profile
from fsr_deploy.runtime.profiling.statistics import Estimate, change

LEAST = 1.01  # a smaller change is nobody's concern, however sure
Figure = tuple[str, Estimate, Estimate]  # what it is, old and new in milliseconds


@dataclass(frozen=True)
class Change:
    """One figure of two runs: ``what`` it is, in milliseconds, and new / old with its interval."""

    engine: str
    what: str
    old_ms: float
    new_ms: float
    times: Estimate

    @property
    def regressed(self) -> bool:
        """Whether it became slower beyond the noise."""
        return self.times.low > 1 and self.times.value > LEAST

    @property
    def improved(self) -> bool:
        """Whether it became faster beyond the noise."""
        return self.times.high < 1 and self.times.value < 1 / LEAST

    def __str__(self) -> str:
        times = self.times
        interval = f"{times.value:.3f}x [{times.low:.3f}, {times.high:.3f}]"
        return f"{self.engine}, {self.what}: {self.old_ms:.3f} -> {self.new_ms:.3f} ms, {interval}"


def compare(old: Profile, new: Profile) -> list[Change]:
    """Return the change of every figure that both profiles have; engines are matched by name.

    Latencies, kinds of modules and modules are a family each, whose intervals hold together. Raises InputError where
    the profiles share nothing.
    """
    drift = _drift(old, new)
    known = {engine.name: engine for engine in old.engines}
    pairs = [(known[engine.name], engine) for engine in new.engines if engine.name in known]
    changes = []
    for shared in (_latencies, _kinds, _modules):
        family = [(now.name, *figure) for was, now in pairs for figure in shared(was, now)]
        for engine, what, before, after in family:
            times = change(before, after, drift, looks=len(family))
            changes.append(Change(engine, what, before.value, after.value, times))
    if not changes:
        raise InputError(f"the profiles share no engine and batch size; the old one has: {', '.join(known)}")
    return changes


def _drift(old: Profile, new: Profile) -> float:
    """Return by what factor the machine may have been faster or slower in the other run.

    The yardstick tells how fast its cores were. An engine that wants all of them suffers more from other processes:
    by the square of what they leave, as measured with one core of two taken.
    """
    yardstick = new.yardstick.value / old.yardstick.value
    left = (1 - (old.load.others or 0.0)) / max(1 - (new.load.others or 0.0), 0.01)
    return max(yardstick, 1 / yardstick) * max(left, 1 / left) ** 2


def _latencies(old: EngineProfile, new: EngineProfile) -> Iterator[Figure]:
    for one in new.batches:
        if before := old.at(one.batch):
            yield f"batch {one.batch}", before.latency.p50, one.latency.p50


def _kinds(old: EngineProfile, new: EngineProfile) -> Iterator[Figure]:
    if old.layers and new.layers and old.layers.batch == new.layers.batch:
        before = {entry.kind: entry.time for entry in old.layers.kinds}
        for entry in new.layers.kinds:
            if entry.kind in before:
                yield f"all {entry.kind} (batch {new.layers.batch})", before[entry.kind], entry.time


def _modules(old: EngineProfile, new: EngineProfile) -> Iterator[Figure]:
    if old.layers and new.layers and old.layers.batch == new.layers.batch:
        before = {entry.module: entry.time for entry in old.layers.modules}
        for entry in new.layers.modules:
            if entry.module in before:
                name = f"{entry.kind} {entry.module}".strip()
                yield f"{name} (batch {new.layers.batch})", before[entry.module], entry.time
