"""Two profiles of the same engines: what became slower by more than the noise of both runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Literal

from fsr_deploy.errors import InputError
from fsr_deploy.profiling.layers.attribution import FEWEST_PEERS, LayerProfile, ModuleTime
from fsr_deploy.profiling.record import EngineProfile, Profile, read_profile
from fsr_deploy.profiling.statistics import Estimate, change, excess
from fsr_deploy.runtime.machine import Machine

LEAST = 1.01  # a smaller change is not reported, even if it is certain
SMALLEST = 0.002  # share of the time from which a module is compared; every further figure widens all intervals


@dataclass(frozen=True)
class _Figure:
    """What is compared: old and new in milliseconds, how the machine changed, how such figures scatter between runs."""

    engine: str
    what: str
    old: Estimate
    new: Estimate
    drift: float = 1.0
    scatter: float = 0.0

    def change(self, looks: int) -> Change:
        times = change(self.old, self.new, self.drift, looks, self.scatter)
        return Change(self.engine, self.what, self.old.value, self.new.value, times)


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


@dataclass(frozen=True)
class Comparison:
    """What two runs say: the change of every figure that both have, and what else differs between the runs."""

    changes: list[Change]
    circumstances: list[str]

    @property
    def slower(self) -> list[Change]:
        """The figures that became slower beyond the noise, the largest change in milliseconds first."""
        return _largest_first(change for change in self.changes if change.regressed)

    @property
    def faster(self) -> list[Change]:
        """The figures that became faster beyond the noise, the largest change in milliseconds first."""
        return _largest_first(change for change in self.changes if change.improved)

    def as_dict(self) -> dict[str, Any]:
        """Return the comparison as plain data."""
        return {
            "regressed": list(map(asdict, self.slower)),
            "improved": list(map(asdict, self.faster)),
            "compared": len(self.changes),
            "circumstances": self.circumstances,
        }

    def __str__(self) -> str:
        lines = [f"slower: {change}" for change in self.slower] + [f"faster: {change}" for change in self.faster]
        total = f"{len(self.changes)} figures compared: {len(self.slower)} slower beyond the noise"
        return "\n".join([*lines, f"{total}, {len(self.faster)} faster"])


def _largest_first(changes: Iterable[Change]) -> list[Change]:
    return sorted(changes, key=lambda change: -abs(change.new_ms - change.old_ms))


def compare_files(old: Path, new: Path) -> Comparison:
    """Compare two ``profile.json`` files or their folders; raises InputError as ``read_profile`` and ``compare``."""
    profiles = read_profile(old), read_profile(new)
    return Comparison(compare(*profiles), list(differences(*profiles)))


def compare(old: Profile, new: Profile) -> list[Change]:
    """Return the change of every figure that both profiles have; engines are matched by name.

    All intervals hold together with 95 %: the error is divided equally between latencies, kinds of modules and modules,
    and then between the figures of each. With enough modules, each is compared relative to the others: new times are
    divided by the factor by which all modules became slower under the profiler (a slowdown of all modules shows in the
    latencies instead), and the change of a module must exceed the scatter of the others' changes. Raises InputError
    where the profiles share nothing, or one of them is too old.
    """
    if not (old.yardstick.passes and new.yardstick.passes):
        raise InputError("an older fsr-deploy measured one of the profiles and stored too little of it; measure again")
    drift = _drift(old, new)
    known = {engine.name: engine for engine in old.engines}
    pairs = [(known[engine.name], engine) for engine in new.engines if engine.name in known]
    families = [
        [figure for was, now in pairs for figure in figures(was, now, drift)]
        for figures in (_latencies, partial(_layers, "kinds"), partial(_layers, "modules"))
    ]
    families = [family for family in families if family]
    if not families:
        raise InputError(f"the profiles share no engine and batch size; the old one has: {', '.join(known)}")
    return [figure.change(len(family) * len(families)) for family in families for figure in family]


def differences(old: Profile, new: Profile) -> Iterator[str]:
    """Yield what else differs between the runs and may explain a change."""
    for what, before, after in (
        ("CPU", old.machine.cpu, new.machine.cpu),
        ("cores", old.machine.cores, new.machine.cores),
        ("GPUs", _names(old.machine), _names(new.machine)),
        ("system", old.machine.system, new.machine.system),
    ):
        if before != after:
            yield f"{what}: {before}, then {after}"
    versions = (old.machine.versions, new.machine.versions)
    for library in sorted({*versions[0], *versions[1]}):
        before, after = (known.get(library, "none") for known in versions)
        if before != after:
            yield f"{library}: {before}, then {after}"


def _names(machine: Machine) -> str:
    """Return the GPUs' names and drivers, without their current clocks."""
    return "; ".join(",".join(gpu.split(",")[:2]) for gpu in machine.gpus) or "none"


def _drift(old: Profile, new: Profile) -> float:
    """Return by what factor the machine may have been slower in the new run.

    The yardstick gives the speed of the cores. An engine that uses all cores suffers more from other processes: by the
    square of the share that they leave, as measured with one core of two in use.
    """
    left = max(1 - (old.load.others or 0.0), 0.01) / max(1 - (new.load.others or 0.0), 0.01)
    return new.yardstick.value / old.yardstick.value * left**2


def _latencies(old: EngineProfile, new: EngineProfile, drift: float) -> Iterator[_Figure]:
    for one in new.batches:
        if before := old.at(one.batch):
            yield _Figure(new.name, f"batch {one.batch}", before.latency.p50, one.latency.p50, drift)


def _layers(
    family: Literal["kinds", "modules"], old: EngineProfile, new: EngineProfile, drift: float
) -> Iterator[_Figure]:
    """Yield the kinds of modules or the modules, each relative to the others where both runs have that figure."""
    if old.layers is None or new.layers is None or old.layers.batch != new.layers.batch:
        return
    others = _others(old.layers, new.layers)
    for before, after in _shared(getattr(old.layers, family), getattr(new.layers, family)):
        name = f"all {after.kind}" if family == "kinds" else f"{after.kind} {after.module}".strip()
        what = f"{name} (batch {new.layers.batch})"
        if others and before.beside_others and after.beside_others:
            factor, scatter = others
            yield _Figure(new.name, what, before.beside_others, after.beside_others.times(1 / factor), 1.0, scatter)
        else:
            yield _Figure(new.name, what, before.time, after.time, drift)


def _others(old: LayerProfile, new: LayerProfile) -> tuple[float, float] | None:
    """Return the median ratio of the modules' times, new / old, and how these ratios scatter. Other processes and the
    placement of memory affect modules, and kinds of modules, differently. None where there are too few modules.
    """
    modules, kinds = (
        [(a.beside_others, b.beside_others) for a, b in shared if a.beside_others and b.beside_others]
        for shared in (_shared(old.modules, new.modules), _shared(old.kinds, new.kinds))
    )
    if len(modules) < FEWEST_PEERS:
        return None
    factor = median(after.value / before.value for before, after in modules)
    return factor, max(excess(pairs) for pairs in (modules, kinds) if len(pairs) >= FEWEST_PEERS)


def _shared(old: Iterable[ModuleTime], new: Iterable[ModuleTime]) -> Iterator[tuple[ModuleTime, ModuleTime]]:
    """Yield the entries that both lists have and that take at least SMALLEST of the time in one of them."""
    known = {(entry.kind, entry.module): entry for entry in old}
    for entry in new:
        before = known.get((entry.kind, entry.module))
        if before and max(before.share, entry.share) >= SMALLEST:
            yield before, entry
