"""A machine of which the tests know everything: a clock, engines with a given latency, drift and disturbances."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fsr_deploy.runtime.session import Batch, EngineInfo

LR, SR = (2, 2), (4, 4)


class SimulatedClock:
    """Time passes only when someone works or sleeps."""

    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds


class NoisyMachine:
    """Slows work down by noise of 2 %, rare spikes and a drift that takes ``drift_seconds`` to come and go."""

    def __init__(self, seed: int, drift_seconds: float, drift: float = 0.05) -> None:
        self._amount = drift
        self._rng = np.random.default_rng(seed)
        self._drift_seconds = drift_seconds
        self._drift = self._rng.normal()
        self._last = 0.0

    def __call__(self, now: float) -> float:
        keep = np.exp(-(now - self._last) / self._drift_seconds)
        self._drift = keep * self._drift + np.sqrt(1 - keep * keep) * self._rng.normal()
        self._last = now
        spike = self._rng.exponential(0.7) if self._rng.random() < 0.03 else 0.0
        return float(np.exp(self._amount * self._drift + 0.02 * self._rng.normal() + spike))


class SimulatedEngine:
    """Repeats pixels in ``start + per_face * N`` seconds of the clock, times what the machine adds at that moment."""

    def __init__(
        self,
        clock: SimulatedClock,
        start: float = 0.002,
        per_face: float = 0.001,
        slowdown: Callable[[float], float] = lambda now: 1.0,
        max_batch: int | None = None,
    ) -> None:
        self.clock, self.start, self.per_face, self.slowdown = clock, start, per_face, slowdown
        self.runs: list[int] = []
        self.info = EngineInfo("simulated", "cpu", "fp32", "0" * 64, LR, SR, 4, max_batch, True)

    def upscale(self, batch: Batch) -> Batch:
        self.runs.append(len(batch))
        self.clock.time += (self.start + self.per_face * len(batch)) * self.slowdown(self.clock.time)
        return batch.repeat(2, axis=1).repeat(2, axis=2)

    def close(self) -> None:
        pass
