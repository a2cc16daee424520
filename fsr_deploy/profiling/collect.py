"""One run of the profiler, from opened engines to a profile."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from itertools import combinations

from fsr_deploy.profiling.layers.attribution import LayerWatch
from fsr_deploy.profiling.layers.gpu_stages import StageWatch
from fsr_deploy.profiling.record import BatchProfile, EngineProfile, EngineRatio, Profile
from fsr_deploy.profiling.rounds import Progress, Schedule, Series, duration, measure, no_progress
from fsr_deploy.profiling.statistics import PASSES, latency, paired_ratio, typical
from fsr_deploy.profiling.subjects import Subject
from fsr_deploy.profiling.timing import Clock, MonotonicClock
from fsr_deploy.profiling.yardstick import Yardstick, ceilings, higher
from fsr_deploy.runtime.machine import LoadMeter, MachineLoad, machine

YARDSTICK_CALLS = 3  # at every visit
BUSY = 0.1  # share of the CPU taken by other processes from which a note is added


@dataclass(frozen=True)
class Request:
    """What to measure; ``seconds`` per engine and batch size.

    ``say`` and ``warn`` take messages, ``progress`` and ``beaten`` are those of a Schedule.
    """

    batches: Sequence[int]
    seconds: float
    layers: bool = False
    budget_ms: float | None = None
    say: Callable[[str], None] = lambda line: None
    warn: Callable[[str], None] = lambda line: None
    progress: Progress = no_progress
    beaten: Callable[[Sequence[Series]], Collection[str]] = lambda series: ()
    clock: Clock = field(default_factory=MonotonicClock)


@dataclass(frozen=True)
class _Watches:
    """What else is measured between the engines' turns, by the name of the engine."""

    yardstick: Yardstick
    layers: dict[str, LayerWatch]
    stages: dict[str, StageWatch]

    def visit(self, batch: int) -> None:
        for _ in range(YARDSTICK_CALLS):
            self.yardstick()
        for layers in self.layers.values():
            layers.visit(batch)
        for stages in self.stages.values():
            stages.visit(batch)


def collect(subjects: Sequence[Subject], request: Request) -> Profile:
    """Measure the engines side by side; raises ParityError for one whose latency cannot be measured."""
    meter, facts, start = LoadMeter(), machine(), request.clock.now()
    notes: list[str] = []

    def notice(line: str) -> None:
        notes.append(line)
        request.warn(line)

    roof = [ceilings(request.clock)] if request.layers else []
    watches = _watch(subjects, request, facts.cores)
    plan = Schedule(
        batches=request.batches,
        seconds=request.seconds,
        clock=request.clock,
        beside=watches.visit,
        beside_seconds=request.seconds * len(watches.layers),
        notice=notice,
        say=request.say,
        progress=request.progress,
        beaten=request.beaten,
    )
    request.say(_announcement(len(subjects), plan))
    series = measure({subject.name: subject.session for subject in subjects}, plan)
    watches.yardstick.close()
    load = meter.read()
    return Profile(
        measured=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        seconds=round(request.clock.now() - start, 1),
        machine=facts,
        load=load,
        yardstick=typical(_in_passes([1e3 * seconds for seconds in watches.yardstick.samples])),
        engines=[_engine(subject, series, watches) for subject in subjects],
        ratios=list(_ratios(series)),
        ceilings=higher(*roof, ceilings(request.clock)) if roof else None,
        budget_ms=request.budget_ms,
        notes=[*notes, *_warnings(load, series)],
    )


def _announcement(engines: int, plan: Schedule) -> str:
    """Say how long it will take; with fast engines, the layers take less."""
    sizes = len(set(plan.batches))
    seconds = plan.seconds * engines * sizes + plan.beside_seconds
    layers = f" and {plan.beside_seconds:g} s for layers" if plan.beside_seconds else ""
    what = f"{engines} engine{'s' * (engines > 1)} x {sizes} batch size{'s' * (sizes > 1)} x {plan.seconds:g} s{layers}"
    how_long = f"{'at most' if layers else 'about'} {duration(seconds)}"
    return f"{what}: {how_long}, and before it the warm-up, 6 to 9 runs of each engine and size"


def _watch(subjects: Sequence[Subject], request: Request, cores: int) -> _Watches:
    watches = _Watches(Yardstick(request.clock, cores), {}, {})
    for subject in subjects:
        batch = subject.focus(request.batches)
        seconds = request.seconds / PASSES
        if request.layers and (layers := subject.watch_layers(batch, seconds, request.clock)):
            watches.layers[subject.name] = layers
        if stages := subject.watch_stages(batch):
            watches.stages[subject.name] = stages
    return watches


def _in_passes(samples: Sequence[float]) -> list[Sequence[float]]:
    size = len(samples) // PASSES
    return [samples[i * size : (i + 1) * size] for i in range(PASSES)]


def _engine(subject: Subject, series: Sequence[Series], watches: _Watches) -> EngineProfile:
    info, quality = subject.session.info, subject.quality()
    layers, stages = watches.layers.get(subject.name), watches.stages.get(subject.name)
    return EngineProfile(
        name=subject.name,
        engine=info.engine,
        device=info.device,
        precision=info.precision,
        sha256=info.sha256,
        lr_shape=info.lr_shape,
        sr_shape=info.sr_shape,
        trained=info.trained,
        batches=[_batch(one) for one in series if one.engine == subject.name],
        cold_start=subject.cold_start,
        stages=stages.finish() if stages else None,
        layers=layers.finish() if layers else None,
        quality=quality,
        notes=subject.notes(),
    )


def _batch(series: Series) -> BatchProfile:
    samples = [round(1e3 * seconds, 4) for part in series.passes for seconds in part]
    return BatchProfile(series.batch, latency(series.passes), series.warm_up, samples)


def _ratios(series: Sequence[Series]) -> Iterator[EngineRatio]:
    """Yield the ratio of every two engines at every batch size that both ran, over the passes that both ran."""
    for base, other in combinations(series, 2):
        if base.batch == other.batch:
            both = min(len(base.passes), len(other.passes))
            times = paired_ratio(other.passes[:both], base.passes[:both])
            yield EngineRatio(other.engine, base.engine, base.batch, times)


def _warnings(load: MachineLoad, series: Sequence[Series]) -> Iterator[str]:
    """Yield warnings for a reader of the figures."""
    if load.others is not None and load.others > BUSY:
        yield f"other processes took {load.others:.0%} of the CPU during the run; this makes the intervals wider"
    if load.stolen is not None and load.stolen > BUSY:
        yield f"the hypervisor gave {load.stolen:.0%} of the CPU to other machines; this makes the intervals wider"
    unstable = [f"{one.engine} at batch {one.batch}" for one in series if not one.warm_up.stable]
    if unstable:
        yield f"still getting faster when the time for warm-up was over: {', '.join(unstable)}"
