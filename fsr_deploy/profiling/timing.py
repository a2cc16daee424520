"""One sample of an engine's latency, measured so that an engine cannot appear faster than it is.

A sample is the time from the call of ``upscale`` until its result has been read. Three things make sure that the
result was there by then: values spread over the whole result are compared, before the clock stops, with the result
known for that input; the input is drawn at random from three, so that a result left over from an earlier run is
noticed; and the returned array is overwritten afterwards, so that it cannot come back as a new result.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fsr_deploy.errors import ParityError
from fsr_deploy.runtime.session import Batch, Session

INPUTS = 3
SETTLE_SECONDS = 0.1
PROBE_STRIDE = 509  # prime, so that the probes meet every colour and column; about 100 of a 128x128 face
TOLERANCE = 1  # 8-bit levels: an engine may sum in another order each time
WARM_UP_GAIN = 0.02
WARM_UP_RUNS, WARM_UP_SLOW_RUNS, WARM_UP_SECONDS = 5, 2, 0.5  # five runs; of slow engines two, if they took as long


class Clock(Protocol):
    """A clock that can also wait."""

    def now(self) -> float:
        """Return seconds since some fixed moment; never goes backwards."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class MonotonicClock:
    """The machine's clock of the highest resolution."""

    def now(self) -> float:
        """Return seconds since some fixed moment."""
        return time.perf_counter()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


@dataclass(frozen=True)
class WarmUp:
    """How the warm-up went: ``fastest`` is its fastest run; ``stable`` is False where its time ran out first.

    ``seconds`` is all the time before the measurement, with the first runs and what they compile.
    """

    runs: int
    seconds: float
    fastest: float
    stable: bool


class Stopwatch:
    """Times one session at one batch size.

    Raises ParityError where the session returns before its result is complete, repeats an older result, or gives the
    same result for different faces, which makes such checks impossible.
    """

    def __init__(self, session: Session, batch_size: int, clock: Clock, seed: int = 0) -> None:
        self._rng = np.random.default_rng(seed)
        self._session, self._clock = session, clock
        shape = (INPUTS, batch_size, *session.info.lr_shape, 3)
        self._inputs = self._rng.integers(0, 256, shape, np.uint8)
        self._results = [self._settled(batch) for batch in self._inputs]
        if any(np.array_equal(self._results[0], other) for other in self._results[1:]):
            raise self._fault("gives the same result for different faces")

    def _settled(self, batch: Batch) -> Batch:
        """Return a result, copied when nothing can still be writing to it."""
        result = self._session.upscale(batch)
        self._clock.sleep(SETTLE_SECONDS)
        return result.copy()

    def sample(self) -> float:
        """Run once and return the seconds it took, the reading of the result included."""
        pick = int(self._rng.integers(INPUTS))
        batch, known = self._inputs[pick], self._results[pick]
        known_probes = probes(known)
        start = self._clock.now()
        result = self._session.upscale(batch)
        complete = result.shape == known.shape and _close(probes(result), known_probes)
        seconds = self._clock.now() - start
        if not (complete and _close(result, known)):
            raise self._fault("returned before its result was complete, or another result for the same faces")
        if result.flags.writeable:
            np.bitwise_xor(result, 0x80, out=result)
        return seconds

    def _fault(self, what: str) -> ParityError:
        info = self._session.info
        return ParityError(f"{info.engine} on {info.device} {what}; its latency cannot be measured")


def probes(faces: Batch) -> NDArray[np.uint8]:
    """Return values spread over the whole array, the last one included."""
    return faces.reshape(-1)[::-PROBE_STRIDE]


def _close(found: NDArray[np.uint8], known: NDArray[np.uint8]) -> bool:
    return bool(np.abs(found.astype(np.int16) - known).max() <= TOLERANCE)


def warm_up(sample: Callable[[], float], clock: Clock, limit: float) -> WarmUp:
    """Run until five runs in a row were not faster than the fastest before them by more than 2 %, or out of time.

    For a slow engine two runs in a row are enough, if they took half a second: caches and clocks warm up with time, not
    with the number of runs. The fastest run is the reference because disturbances only make runs slower: they neither
    end the warm-up early nor prolong it. ``limit`` is in seconds.
    """
    start = clock.now()
    fastest = sample()
    best_at, runs, idle, stable = clock.now(), 1, 0, False
    while not stable and clock.now() - start < limit:
        seconds = sample()
        runs += 1
        if seconds < fastest * (1 - WARM_UP_GAIN):
            best_at, idle = clock.now(), 0
        else:
            idle += 1
        fastest = min(fastest, seconds)
        slow = idle >= WARM_UP_SLOW_RUNS and clock.now() - best_at >= WARM_UP_SECONDS
        stable = slow or idle >= WARM_UP_RUNS
    return WarmUp(runs, clock.now() - start, fastest, stable)
