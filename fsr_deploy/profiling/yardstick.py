"""Fixed work that measures the machine itself: its current speed, and the ceilings of a roofline."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from fsr_deploy._util.cores import usable_cores
from fsr_deploy.profiling.timing import Clock

CACHED = 1 << 15  # float32 values, which fit into a core's cache
STREAMED = 1 << 22  # float32 values: they do not
COMPUTE_ROUNDS, COPY_ROUNDS = 200, 3  # each about 3 ms
GEMM_SIZE = 1024
CEILING_RUNS = 10


@dataclass(frozen=True)
class Ceilings:
    """The CPU's ceilings: ``gflops`` of an FP32 matrix product, ``gbytes`` per second when copying memory."""

    gflops: float
    gbytes: float


class Yardstick:
    """The same NumPy work on every core, timed repeatedly: half arithmetic in the cache, half copying memory. No BLAS,
    because its threads keep spinning for a while and would disturb the next measurement. ``samples`` holds the seconds
    of every call.
    """

    def __init__(self, clock: Clock, cores: int) -> None:
        self.samples: list[float] = []
        self._clock = clock
        self._pool = ThreadPoolExecutor(cores)
        self._cached = [np.ones((2, CACHED), np.float32) for _ in range(cores)]
        self._streamed = [np.ones((2, STREAMED), np.float32) for _ in range(cores)]

    def __call__(self) -> None:
        """Do the work once on every core."""
        start = self._clock.now()
        list(self._pool.map(_compute, self._cached))
        list(self._pool.map(_copy, self._streamed))
        self.samples.append(self._clock.now() - start)

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown()


def ceilings(clock: Clock) -> Ceilings:
    """Measure both ceilings, each as the best of a few runs on all cores that this process may use; about 0.2 s.

    The matrix product is NumPy's, with the BLAS that it comes with.
    """
    left, right = np.ones((2, GEMM_SIZE, GEMM_SIZE), np.float32)
    gemm = _best(clock, lambda: left @ right)
    cores = usable_cores()
    pairs = [np.ones((2, STREAMED), np.float32) for _ in range(cores)]
    with ThreadPoolExecutor(cores) as pool:
        copy = _best(clock, lambda: list(pool.map(_copy, pairs)))
    moved = cores * COPY_ROUNDS * pairs[0].nbytes
    return Ceilings(gflops=2e-9 * GEMM_SIZE**3 / gemm, gbytes=1e-9 * moved / copy)


def higher(*measured: Ceilings) -> Ceilings:
    """Return the highest of each ceiling, because disturbances only make it lower."""
    return Ceilings(max(one.gflops for one in measured), max(one.gbytes for one in measured))


def _best(clock: Clock, work: Callable[[], object]) -> float:
    times = []
    for _ in range(CEILING_RUNS):
        start = clock.now()
        work()
        times.append(clock.now() - start)
    return min(times)


def _compute(pair: np.ndarray) -> None:
    for _ in range(COMPUTE_ROUNDS):
        np.exp(pair[0], out=pair[1])


def _copy(pair: np.ndarray) -> None:
    for _ in range(COPY_ROUNDS):
        np.copyto(pair[1], pair[0])
