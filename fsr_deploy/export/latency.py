"""Is the engine faster than eager? Measured in the same run, turn by turn, from LR faces to SR faces."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

REPEATS = 5
SECONDS = 8.0  # after this long a batch size gets no further turns, so that a slow machine is not kept busy

Run = Callable[[NDArray[Any]], NDArray[Any]]


@dataclass(frozen=True)
class Turn:
    """A batch size: median milliseconds of one batch by engine and by eager, over ``repeats`` turns of each."""

    batch: int
    engine_ms: float
    eager_ms: float
    repeats: int

    @property
    def speedup(self) -> float:
        """How many times faster than eager the engine is."""
        return self.eager_ms / self.engine_ms

    def __str__(self) -> str:
        times = f"engine {self.engine_ms:.1f} ms, eager {self.eager_ms:.1f} ms"
        return f"batch {self.batch}: {times}, {self.speedup:.2f}x"


def measure(engine: Run, eager: Run, inputs: NDArray[Any], batches: Iterable[int]) -> list[Turn]:
    """Time engine and eager on the same input at each batch size, upload and download included.

    They take turns, so that a machine that is busy for a while slows both.
    """
    return [_measure(engine, eager, inputs[np.arange(batch) % len(inputs)]) for batch in sorted(set(batches))]


def slower_note(turns: Iterable[Turn], precision: str, device: str) -> str | None:
    """Return a sentence where the engine is slower than eager at some batch, None where it is not."""
    slow = ", ".join(f"{turn.speedup:.2f}x at batch {turn.batch}" for turn in turns if turn.speedup < 1)
    if not slow:
        return None
    if device == "cpu" and precision in ("fp16", "bf16"):
        return f"slower than eager FP32 here, as expected ({slow}): {precision} pays on a GPU, a CPU computes in FP32"
    return f"slower than eager here ({slow}); the engine is only worth its place where it is faster"


def _measure(engine: Run, eager: Run, batch: NDArray[Any]) -> Turn:
    engine(batch)  # the first call allocates memory and chooses algorithms
    eager(batch)
    engine_ms: list[float] = []
    eager_ms: list[float] = []
    start = time.perf_counter()
    while len(eager_ms) < REPEATS and (not eager_ms or time.perf_counter() - start < SECONDS):
        engine_ms.append(_milliseconds(engine, batch))
        eager_ms.append(_milliseconds(eager, batch))
    return Turn(len(batch), statistics.median(engine_ms), statistics.median(eager_ms), len(eager_ms))


def _milliseconds(run: Run, batch: NDArray[Any]) -> float:
    start = time.perf_counter()
    run(batch)
    return (time.perf_counter() - start) * 1e3
