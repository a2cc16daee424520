"""Two profiles of the same engines: what became slower by more than the noise of both runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from statistics import median

from fsr_deploy.errors import InputError
from fsr_deploy.profiling.layers.attribution import FEWEST_PEERS, LayerProfile, ModuleTime
from fsr_deploy.profiling.machine import Machine
from fsr_deploy.profiling.record import EngineProfile, Profile
from fsr_deploy.profiling.statistics import Estimate, change

LEAST = 1.01  # a smaller change is nobody's concern, however sure
SMALLEST = 0.002  # share of the time from which a module is compared; each figure more makes all less sure
Figure = tuple[str, Estimate, Estimate, float]  # what it is, old and new in milliseconds, how the machine may differ


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

    Latencies, kinds of modules and modules are a family each, whose intervals hold together. Where the modules are
    enough to tell how much slower the whole engine was under the profiler, each is judged beside the others: new times
    are divided by that factor, and what slows down all modules is left to the latencies to show. Raises InputError
    where the profiles share nothing.
    """
    drift = _drift(old, new)
    known = {engine.name: engine for engine in old.engines}
    pairs = [(known[engine.name], engine) for engine in new.engines if engine.name in known]
    changes = []
    for shared in (_latencies, _kinds, _modules):
        family = [(now.name, *figure) for was, now in pairs for figure in shared(was, now, drift)]
        for engine, what, before, after, doubt in family:
            times = change(before, after, doubt, looks=len(family))
            changes.append(Change(engine, what, before.value, after.value, times))
    if not changes:
        raise InputError(f"the profiles share no engine and batch size; the old one has: {', '.join(known)}")
    return changes


def differences(old: Profile, new: Profile) -> Iterator[str]:
    """Yield what else differs between the runs: a changed figure may come from it."""
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
    """Return the GPUs' names and drivers, without the clocks of the moment."""
    return "; ".join(",".join(gpu.split(",")[:2]) for gpu in machine.gpus) or "none"


def _drift(old: Profile, new: Profile) -> float:
    """Return by what factor the machine may have been faster or slower in the other run.

    The yardstick tells how fast its cores were. An engine that wants all of them suffers more from other processes:
    by the square of what they leave, as measured with one core of two taken.
    """
    yardstick = new.yardstick.value / old.yardstick.value
    left = (1 - (old.load.others or 0.0)) / max(1 - (new.load.others or 0.0), 0.01)
    return max(yardstick, 1 / yardstick) * max(left, 1 / left) ** 2


def _latencies(old: EngineProfile, new: EngineProfile, drift: float) -> Iterator[Figure]:
    for one in new.batches:
        if before := old.at(one.batch):
            yield f"batch {one.batch}", before.latency.p50, one.latency.p50, drift


def _kinds(old: EngineProfile, new: EngineProfile, drift: float) -> Iterator[Figure]:
    if layers := _layers(old, new):
        for before, after in _shared(layers[0].kinds, layers[1].kinds):
            name = f"all {after.kind} (batch {layers[1].batch})"
            yield name, *_beside_others(before, after, _factor(*layers), drift)


def _modules(old: EngineProfile, new: EngineProfile, drift: float) -> Iterator[Figure]:
    if layers := _layers(old, new):
        for before, after in _shared(layers[0].modules, layers[1].modules):
            name = f"{after.kind} {after.module}".strip()
            yield f"{name} (batch {layers[1].batch})", *_beside_others(before, after, _factor(*layers), drift)


def _layers(old: EngineProfile, new: EngineProfile) -> tuple[LayerProfile, LayerProfile] | None:
    if old.layers and new.layers and old.layers.batch == new.layers.batch:
        return old.layers, new.layers
    return None


def _shared(old: Iterable[ModuleTime], new: Iterable[ModuleTime]) -> Iterator[tuple[ModuleTime, ModuleTime]]:
    """Yield the entries that both lists have and that take a share worth watching in one of them."""
    known = {(entry.kind, entry.module): entry for entry in old}
    for entry in new:
        before = known.get((entry.kind, entry.module))
        if before and max(before.share, entry.share) >= SMALLEST:
            yield before, entry


def _factor(old: LayerProfile, new: LayerProfile) -> float | None:
    """Return how many times as long the modules took in the new run, in the median; None where they are too few."""
    pairs = [(a.beside_others, b.beside_others) for a, b in _shared(old.modules, new.modules)]
    ratios = [after.value / before.value for before, after in pairs if before and after]
    return median(ratios) if len(ratios) >= FEWEST_PEERS else None


def _beside_others(
    old: ModuleTime, new: ModuleTime, factor: float | None, drift: float
) -> tuple[Estimate, Estimate, float]:
    before, after = old.beside_others, new.beside_others
    if factor is None or before is None or after is None:
        return old.time, new.time, drift
    return before, Estimate(after.value / factor, after.low / factor, after.high / factor), 1.0
