"""Is the engine faster than eager? Measured in the same run, turn by turn, from LR faces to SR faces."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fsr_deploy.bundle.info import MIXED

MIN_TURNS, MAX_TURNS = 3, 9
SECONDS = (
    8.0  # after this long a batch size gets no further turns than MIN_TURNS, so that a slow machine is not kept busy
)

Run = Callable[[NDArray[Any]], NDArray[Any]]


@dataclass(frozen=True)
class Timing:
    """A batch size: median milliseconds of one batch by engine and by eager, over some turns of each.

    ``speedup`` is the median of the turns' ratios, eager to engine, which a machine that is busy for one turn does not
    move; ``slowest`` and ``fastest`` are the least and the greatest of them.
    """

    batch: int
    engine_ms: float
    eager_ms: float
    speedup: float
    slowest: float
    fastest: float
    turns: int

    def __str__(self) -> str:
        times = f"engine {self.engine_ms:.1f} ms, eager {self.eager_ms:.1f} ms"
        spread = f"{self.slowest:.2f} to {self.fastest:.2f} in {self.turns} turns"
        return f"batch {self.batch}: {times}, {self.speedup:.2f}x ({spread})"


def measure(engine: Run, eager: Run, inputs: NDArray[Any], batches: Iterable[int]) -> list[Timing]:
    """Time engine and eager on the same input at each batch size, upload and download included.

    They take turns, one right after the other, so that a machine that is busy for a while slows both.
    """
    return [_measure(engine, eager, inputs[np.arange(batch) % len(inputs)]) for batch in sorted(set(batches))]


def slower_note(timings: Iterable[Timing], precision: str, device: str) -> str | None:
    """Return a sentence where the engine is slower than eager at some batch, None where it is not."""
    slow = ", ".join(f"{timing.speedup:.2f}x at batch {timing.batch}" for timing in timings if timing.speedup < 1)
    if not slow:
        return None
    if device == "cpu" and precision in ("fp16", "bf16", MIXED):
        return f"slower than eager FP32 here, as expected ({slow}): {precision} pays on a GPU, a CPU computes in FP32"
    return f"slower than eager here ({slow}); the engine is only worth its place where it is faster"


def _measure(engine: Run, eager: Run, batch: NDArray[Any]) -> Timing:
    engine(batch)  # the first call allocates memory and chooses algorithms
    eager(batch)
    turns: list[tuple[float, float]] = []
    start = time.perf_counter()
    while len(turns) < MIN_TURNS or (len(turns) < MAX_TURNS and time.perf_counter() - start < SECONDS):
        turns.append((milliseconds(engine, batch), milliseconds(eager, batch)))
    engine_ms, eager_ms = (statistics.median(times) for times in zip(*turns, strict=True))
    ratios = sorted(theirs / ours for ours, theirs in turns)
    return Timing(len(batch), engine_ms, eager_ms, statistics.median(ratios), ratios[0], ratios[-1], len(turns))


def milliseconds(run: Run, batch: NDArray[Any]) -> float:
    """Return how long one run takes."""
    start = time.perf_counter()
    run(batch)
    return (time.perf_counter() - start) * 1e3
