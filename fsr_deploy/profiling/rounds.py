"""Several engines measured in turns in one run, so that all of them see the same disturbances."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace

import numpy as np

from fsr_deploy.errors import InputError
from fsr_deploy.profiling.statistics import PASSES
from fsr_deploy.profiling.timing import Clock, Stopwatch, WarmUp, warm_up
from fsr_deploy.runtime.session import OutOfMemory, Session

MAX_ROUNDS = 125  # per pass: 1000 samples in all
SLOWEST_RUN = 1 / PASSES  # of the measuring time; with one slower run per pass, measuring would take too long
WARM_UP_SHARE = 0.5  # of the measuring time: the limit for a warm-up
# Share of the engine's time in a visit that is run but not counted: a new batch size invalidates CUDA graphs and
# refills arenas. A slow engine's first run is as fast as the next, for AMINet on one core within 0.3 %.
REWARM_RUNS, REWARM_SECONDS, REWARM_SHARE = 5, 0.2, 0.2

Progress = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]


def no_progress(what: str, total: int) -> AbstractContextManager[Callable[[int], None]]:
    """Tell nobody."""
    return nullcontext(lambda count: None)


@dataclass(frozen=True)
class Series:
    """The samples, in seconds, of one engine at one batch size: one list per pass, in order of time.

    Series of one batch size are paired: their i-th samples were taken in the same round.
    """

    engine: str
    batch: int
    warm_up: WarmUp
    passes: list[list[float]] = field(default_factory=list)


@dataclass(frozen=True)
class Schedule:
    """What to measure: ``seconds`` per engine and batch size.

    ``beside`` is called with the batch size at every visit, before the engines, and takes about ``beside_seconds`` in
    total. ``notice`` takes a line about what was left out, ``say`` one about what comes next. ``progress`` takes a
    description and the number of steps, and returns the function that is called after each step. ``beaten`` is asked
    after each pass for the engines that need no further ones, by what was measured of all at one batch size.
    """

    batches: Sequence[int]
    seconds: float
    clock: Clock
    beside: Callable[[int], None] = lambda batch: None
    beside_seconds: float = 0.0
    notice: Callable[[str], None] = lambda line: None
    say: Callable[[str], None] = lambda line: None
    progress: Progress = no_progress
    beaten: Callable[[Sequence[Series]], Collection[str]] = lambda series: ()


@dataclass(frozen=True)
class _Visit:
    """One batch size and the engines that can run it; ``watches`` are those that still do."""

    batch: int
    watches: dict[str, Stopwatch]
    series: dict[str, Series]

    @property
    def round_seconds(self) -> float:
        """How long it takes to run every engine once."""
        return sum(one.warm_up.fastest for name, one in self.series.items() if name in self.watches)

    def seconds(self, asked: float) -> float:
        """Return the seconds of all passes for ``asked`` seconds per engine; more if one round per pass takes
        longer."""
        least, most = (PASSES * rounds * self.round_seconds for rounds in (1, MAX_ROUNDS))
        return max(min(asked * len(self.series), most), least)


def measure(sessions: Mapping[str, Session], plan: Schedule) -> list[Series]:
    """Measure every engine at every batch size it can run.

    All are warmed up first. Then follow the passes: each visits the batch sizes in random order, and there the
    engines run in rounds, each once per round in random order, after a few runs that are not counted. The random
    orders are the same every time. Raises InputError where no engine can run any of the batch sizes.
    """
    rng = np.random.default_rng(0)
    start = plan.clock.now()
    visits = _warm_up_all(sessions, plan)
    if not visits:
        raise InputError("no engine can run any of the batch sizes; name others with --batches")
    left = plan.beside_seconds + sum(visit.seconds(plan.seconds) for visit in visits)
    plan.say(f"warmed up in {duration(plan.clock.now() - start)}; measuring takes about {duration(left)}")
    with plan.progress("measuring", PASSES * len(visits)) as advance:
        for _ in range(PASSES):
            for index in rng.permutation(len(visits)):
                plan.beside(visits[index].batch)
                _take_turns(visits[index], plan, rng)
                advance(1)
                for name in plan.beaten(list(visits[index].series.values())):
                    visits[index].watches.pop(name, None)
    return [series for visit in visits for series in visit.series.values()]


def duration(seconds: float) -> str:
    """Return a time for a person: "40 s", "2.5 minutes"."""
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.1f} minutes"


def _warm_up_all(sessions: Mapping[str, Session], plan: Schedule) -> list[_Visit]:
    visits = [_Visit(batch, {}, {}) for batch in sorted(set(plan.batches))]
    running = dict(sessions)
    fastest = dict.fromkeys(sessions, (0.0, 1))
    with plan.progress("warming up", len(visits) * len(sessions)) as advance:
        for visit in visits:
            for name, session in list(running.items()):
                try:
                    _check(session, visit.batch, fastest[name], plan.seconds)
                    watch, warmed = _warm_up(session, visit.batch, plan)
                except (OutOfMemory, _TooLarge) as reason:
                    plan.notice(f"batch {visit.batch} and larger left out for {name}: {reason}")
                    del running[name]
                    continue
                visit.watches[name], visit.series[name] = watch, Series(name, visit.batch, warmed)
                fastest[name] = (warmed.fastest, visit.batch)
                advance(1)
    return [visit for visit in visits if visit.series]


def _warm_up(session: Session, batch: int, plan: Schedule) -> tuple[Stopwatch, WarmUp]:
    start = plan.clock.now()
    watch = Stopwatch(session, batch, plan.clock)
    warmed = warm_up(watch.sample, plan.clock, WARM_UP_SHARE * plan.seconds)
    return watch, replace(warmed, seconds=plan.clock.now() - start)


class _TooLarge(Exception):
    """Why an engine is not measured at a batch size."""


def _check(session: Session, batch: int, known: tuple[float, int], seconds: float) -> None:
    """Raise _TooLarge for a batch that the engine cannot take or, by the time of the ``known`` run, takes too long."""
    largest = session.info.max_batch
    if largest is not None and batch > largest:
        raise _TooLarge(f"it takes at most {largest}")
    expected = known[0] * batch / known[1]
    if expected > SLOWEST_RUN * seconds:
        enough = math.ceil(1.1 * expected / SLOWEST_RUN)
        raise _TooLarge(f"a run would take about {expected:.1f} s; --seconds {enough} would measure it")


def _take_turns(visit: _Visit, plan: Schedule, rng: np.random.Generator) -> None:
    """Run in rounds until the time of the visit is over.

    On a machine that is slower than in the warm-up there are fewer rounds, but at least half of those planned: with
    very few, one disturbance would decide the median.
    """
    names, share = list(visit.watches), plan.seconds / PASSES
    end = plan.clock.now() + share * len(names)
    planned = min(round(share * len(names) / visit.round_seconds), MAX_ROUNDS)
    for name in names:
        _rewarm(visit, name, plan.clock, min(REWARM_SECONDS, REWARM_SHARE * share))
        visit.series[name].passes.append([])
    for rounds in range(max(planned, 1)):
        if 2 * rounds >= planned and rounds and plan.clock.now() + visit.round_seconds / 2 > end:
            break
        for index in rng.permutation(len(names)):
            name = names[index]
            visit.series[name].passes[-1].append(visit.watches[name].sample())


def _rewarm(visit: _Visit, name: str, clock: Clock, limit: float) -> None:
    """Run as often as the limit allows."""
    expected, start = visit.series[name].warm_up.fastest, clock.now()
    for _ in range(REWARM_RUNS):
        if clock.now() - start + expected > limit:
            break
        visit.watches[name].sample()
