"""How busy each stage of a pipeline was, and which one limits the rate."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

Value = TypeVar("Value")
Result = TypeVar("Result")


class Stage:
    """Counts the frames of a stage and the seconds that its workers spent on them, without waiting for other stages."""

    def __init__(self, name: str, workers: int) -> None:
        self.name = name
        self.workers = workers
        self.frames = 0
        self.seconds = 0.0
        self._lock = threading.Lock()

    def timed(
        self, step: Callable[[Value], Result], size: Callable[[Value], int] = lambda value: 1
    ) -> Callable[[Value], Result]:
        """Return the step with its time and frames counted; ``size`` returns how many frames a value holds."""

        def run(value: Value) -> Result:
            start = time.perf_counter()
            try:
                return step(value)
            finally:
                self.count(time.perf_counter() - start, size(value))

        return run

    def count(self, seconds: float, frames: int) -> None:
        """Add the seconds that a worker spent on some frames."""
        with self._lock:
            self.seconds += seconds
            self.frames += frames

    @property
    def rate(self) -> float:
        """Frames per second that the stage would do if it never waited for another: all workers, all the time."""
        return self.frames * self.workers / self.seconds if self.seconds else float("inf")


@dataclass(frozen=True)
class StageReport:
    """Rates in frames per second.

    ``stages`` maps a stage's name to its own rate while the others ran beside it; ``end_to_end`` is finished frames by
    elapsed time, start-up of the engine excluded. ``efficiency`` is end_to_end / min(stages): 1 where the slowest
    stage, the ``bottleneck``, never waited. Stages that share cores slow each other down. That is in the rates, not in
    the efficiency; to see it, run the engine alone.
    """

    stages: dict[str, float]
    end_to_end: float
    efficiency: float
    bottleneck: str


def report(stages: list[Stage], frames: int, seconds: float) -> StageReport | None:
    """Return the report on ``frames`` finished in ``seconds``, None where nothing was measured."""
    rates = {stage.name: stage.rate for stage in stages if stage.frames}
    if not rates or not frames or seconds <= 0:
        return None
    bottleneck = min(rates, key=lambda name: rates[name])
    end_to_end = frames / seconds
    return StageReport(rates, end_to_end, end_to_end / rates[bottleneck], bottleneck)
