"""Engines timed taking turns, and which of them is the fastest; one that cannot win leaves early."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from fsr_deploy._util import log
from fsr_deploy._util.log import say, warn
from fsr_deploy.profiling.collect import Request, collect
from fsr_deploy.profiling.record import Profile
from fsr_deploy.profiling.rounds import Series
from fsr_deploy.profiling.statistics import PASSES, Estimate, paired_ratio, typical
from fsr_deploy.profiling.subjects import Subject
from fsr_deploy.profiling.timing import Clock, MonotonicClock
from fsr_deploy.runtime.session import Batch, Session

SECONDS = 6.0  # of measuring for each engine
FEWEST = 4  # passes before an engine may leave
EQUAL = 1.03  # times as long, up to which two engines may be equally fast
AT_A_TIME = 4  # batches for each of those that a session takes at the same time


class Crowd:
    """A session that was opened for throughput, with as many batches at the same time as it takes: one large batch."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._pool = ThreadPoolExecutor(session.in_flight)
        self._batch = session.info.best_batch
        self.info = replace(session.info, max_batch=None)
        self.in_flight = 1

    @property
    def faces(self) -> int:
        """How many faces keep it busy for a while."""
        return AT_A_TIME * self._session.in_flight * self._batch

    def upscale(self, batch: Batch) -> Batch:
        """Turn (N, h, w, 3) uint8 RGB LR faces into (N, H, W, 3) uint8 RGB SR faces."""
        parts = [batch[start : start + self._batch] for start in range(0, len(batch), self._batch)]
        return np.concatenate(list(self._pool.map(self._session.upscale, parts)))

    def close(self) -> None:
        """Free the session and end the threads."""
        self._pool.shutdown()
        self._session.close()


@dataclass(frozen=True)
class Times:
    """Milliseconds of ``faces`` faces, with their interval; ``passes`` are fewer than PASSES where it left early."""

    ms: Estimate
    faces: int
    passes: int

    @property
    def left_early(self) -> bool:
        """Whether it was certain before the end that another engine is faster."""
        return self.passes < PASSES

    def __str__(self) -> str:
        interval = f"{self.ms.value:.1f} ms [{self.ms.low:.1f}, {self.ms.high:.1f}]"
        many = f"{self.faces} faces" if self.faces > 1 else "1 face"
        return f"{interval} for {many}{', left early' if self.left_early else ''}"


def hold(sessions: Mapping[str, Session], faces: int, clock: Clock | None = None) -> tuple[dict[str, Times], str]:
    """Let engines take turns, ``faces`` at a time; returns their times and the name of the winner.

    The winner is the fastest. Where others may be as fast, by an interval that holds 1 and a ratio within 3 %, it is
    the first of them in ``sessions``. Raises ParityError for an engine whose time cannot be measured.
    """
    subjects = [Subject(name, session) for name, session in sessions.items()]
    request = Request(
        [faces],
        SECONDS,
        say=say,
        warn=warn,
        progress=log.progress,
        beaten=beaten,
        clock=clock or MonotonicClock(),
    )
    profile = collect(subjects, request)
    times = {}
    for engine in profile.engines:
        (one,) = engine.batches
        times[engine.name] = Times(one.latency.p50, faces, len(one.latency.p50.passes))
    return times, winner(profile, list(sessions), faces)


def beaten(series: Sequence[Series]) -> Collection[str]:
    """Return the engines that cannot be the fastest: their interval, and that of the ratio, lie above the best's."""
    running = [one for one in series if len(one.passes) == max(len(other.passes) for other in series)]
    if len(running[0].passes) < FEWEST or len(running) == 1:
        return []
    figures = {one.engine: typical(one.passes) for one in running}
    best = min(running, key=lambda one: figures[one.engine].value)
    return [
        one.engine
        for one in running
        if figures[one.engine].low > figures[best.engine].high and paired_ratio(one.passes, best.passes).low > 1
    ]


def winner(profile: Profile, order: Sequence[str], faces: int) -> str:
    """Return the fastest engine, or the first in ``order`` of those that may be as fast."""
    medians = {engine.name: engine.batches[0].latency.p50.value for engine in profile.engines}
    best = min(medians, key=medians.__getitem__)

    def as_fast(name: str) -> bool:
        times = profile.ratio(name, best, faces)
        return name == best or (times is not None and times.low <= 1 and times.value <= EQUAL)

    return next(name for name in order if as_fast(name))
