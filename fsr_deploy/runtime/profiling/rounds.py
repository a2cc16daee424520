"""Several engines measured in one run, taking turns, so that whatever the machine does happens to all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from fsr_deploy.errors import InputError
from fsr_deploy.runtime.profiling.statistics import PASSES
from fsr_deploy.runtime.profiling.timing import Clock, Stopwatch, WarmUp, warm_up
from fsr_deploy.runtime.session import OutOfMemory, Session

MIN_ROUNDS, MAX_ROUNDS = 3, 125  # per pass: 24 to 1000 samples in all
SLOWEST_RUN = 0.5  # of the measuring time: a batch whose runs take longer is left out
REWARM_RUNS, REWARM_SECONDS = 5, 0.2  # after a change of the batch size, which ends CUDA graphs and refills arenas


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
class Plan:
    """What to measure: ``seconds`` per engine and batch size, roughly.

    ``beside`` is called with the batch size at every visit to it, before the engines. ``notice`` takes a line about
    what was left out, ``advance`` the number of passes just done.
    """

    batches: Sequence[int]
    seconds: float
    clock: Clock
    beside: Callable[[int], None] = lambda batch: None
    notice: Callable[[str], None] = lambda line: None
    advance: Callable[[int], None] = lambda count: None


@dataclass(frozen=True)
class _Visit:
    """One batch size, the engines that can run it, and how often they do in each pass."""

    batch: int
    watches: dict[str, Stopwatch]
    series: dict[str, Series]
    rounds: int


def measure(sessions: Mapping[str, Session], plan: Plan) -> list[Series]:
    """Measure every engine at every batch size it can run.

    All are warmed up first. Then follow the passes: each visits the batch sizes in random order, and there the
    engines run in rounds, each once per round in random order, after a few runs that are not counted. The random
    orders are the same every time. Raises InputError where no engine can run any of the batch sizes.
    """
    rng = np.random.default_rng(0)
    visits = _warm_up_all(sessions, plan)
    if not visits:
        raise InputError("no engine can run any of the batch sizes; name others with --batches")
    for _ in range(PASSES):
        for index in rng.permutation(len(visits)):
            plan.beside(visits[index].batch)
            _take_turns(visits[index], plan.clock, rng)
        plan.advance(1)
    return [series for visit in visits for series in visit.series.values()]


def _warm_up_all(sessions: Mapping[str, Session], plan: Plan) -> list[_Visit]:
    visits = []
    running = dict(sessions)
    fastest = dict.fromkeys(sessions, (0.0, 1))
    for batch in sorted(set(plan.batches)):
        watches, series = {}, {}
        for name, session in list(running.items()):
            try:
                _check(session, batch, fastest[name], plan.seconds)
                watch = Stopwatch(session, batch, plan.clock)
                warmed = warm_up(watch.sample, plan.clock, plan.seconds)
            except (OutOfMemory, _TooLarge) as reason:
                plan.notice(f"batch {batch} and larger left out for {name}: {reason}")
                del running[name]
                continue
            watches[name], series[name] = watch, Series(name, batch, warmed)
            fastest[name] = (warmed.fastest, batch)
        if series:
            visits.append(_Visit(batch, watches, series, _rounds(series.values(), plan.seconds)))
    return visits


class _TooLarge(Exception):
    """Why an engine is not measured at a batch size."""


def _check(session: Session, batch: int, known: tuple[float, int], seconds: float) -> None:
    """Raise _TooLarge for a batch that the engine cannot take or, judged by the ``known`` run, takes too long for."""
    largest = session.info.max_batch
    if largest is not None and batch > largest:
        raise _TooLarge(f"it takes at most {largest}")
    expected = known[0] * batch / known[1]
    if expected > SLOWEST_RUN * seconds:
        raise _TooLarge(f"a run would take about {expected:.1f} s; raise --seconds to have it measured")


def _rounds(series: Iterable[Series], seconds: float) -> int:
    fastest = [one.warm_up.fastest for one in series]
    return min(max(round(seconds / PASSES * len(fastest) / sum(fastest)), MIN_ROUNDS), MAX_ROUNDS)


def _take_turns(visit: _Visit, clock: Clock, rng: np.random.Generator) -> None:
    names = list(visit.watches)
    for name in names:
        _rewarm(visit.watches[name], clock)
        visit.series[name].passes.append([])
    for _ in range(visit.rounds):
        for index in rng.permutation(len(names)):
            name = names[index]
            visit.series[name].passes[-1].append(visit.watches[name].sample())


def _rewarm(watch: Stopwatch, clock: Clock) -> None:
    start = clock.now()
    for _ in range(REWARM_RUNS):
        watch.sample()
        if clock.now() - start > REWARM_SECONDS:
            break
