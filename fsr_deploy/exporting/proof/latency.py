"""Is the engine faster than eager? Measured in the same run, turn by turn, from LR faces to SR faces."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from fsr_deploy.bundle.info import MIXES
from fsr_deploy.exporting.graph.sessions import open_graph
from fsr_deploy.exporting.proof.quality import Judge

MIN_TURNS, MAX_TURNS = 3, 9
SECONDS = (
    8.0  # after this long a batch size gets no further turns than MIN_TURNS, so that a slow machine is not kept busy
)

LEAST = 0.01  # a smaller difference is ignored
CHANCE = 0.05  # how often equal engines may look as different

Run = Callable[[NDArray[Any]], NDArray[Any]]


@dataclass(frozen=True)
class SpeedUp:
    """A batch size: median milliseconds of one batch by engine and by eager, over some turns of each.

    ``speedup`` is the median of the turns' ratios, eager to engine, which a machine that is busy for one turn does not
    move; ``slowest`` and ``fastest`` are the least and the greatest of them. The engine was faster in ``won`` turns.
    """

    batch: int
    engine_ms: float
    eager_ms: float
    speedup: float
    slowest: float
    fastest: float
    turns: int
    won: int = 0

    @property
    def slower(self) -> bool:
        """Whether the engine is slower than eager beyond the noise of the turns: a sign test of them."""
        chance = sum(math.comb(self.turns, won) for won in range(self.won + 1)) / 2**self.turns
        return self.speedup < 1 - LEAST and (self.won == 0 or chance <= CHANCE)

    def __str__(self) -> str:
        times = f"engine {self.engine_ms:.1f} ms, eager {self.eager_ms:.1f} ms"
        spread = f"{self.slowest:.2f} to {self.fastest:.2f} in {self.turns} turns"
        return f"batch {self.batch}: {times}, {self.speedup:.2f}x ({spread})"


def measure(engine: Run, eager: Run, inputs: NDArray[Any], batches: Iterable[int]) -> list[SpeedUp]:
    """Time engine and eager on the same input at each batch size, upload and download included.

    They take turns, one right after the other, so that a machine that is busy for a while slows both.
    """
    return [_measure(engine, eager, inputs[np.arange(batch) % len(inputs)]) for batch in sorted(set(batches))]


def slower_note(timings: Iterable[SpeedUp], precision: str, device: str) -> str | None:
    """Return a sentence where the engine is slower than eager at some batch, None where that cannot be told."""
    slow = ", ".join(f"{timing.speedup:.2f}x at batch {timing.batch}" for timing in timings if timing.slower)
    if not slow:
        return None
    if device == "cpu" and precision in ("fp16", "bf16", *MIXES):
        return f"slower than eager FP32 here, as expected ({slow}): {precision} pays on a GPU, a CPU computes in FP32"
    return f"slower than eager here ({slow}); use the engine only where it is faster"


def _measure(engine: Run, eager: Run, batch: NDArray[Any]) -> SpeedUp:
    engine(batch)  # the first call allocates memory and chooses algorithms
    eager(batch)
    turns: list[tuple[float, float]] = []
    start = time.perf_counter()
    while len(turns) < MIN_TURNS or (len(turns) < MAX_TURNS and time.perf_counter() - start < SECONDS):
        turns.append((milliseconds(engine, batch), milliseconds(eager, batch)))
    engine_ms, eager_ms = (statistics.median(times) for times in zip(*turns, strict=True))
    ratios = sorted(theirs / ours for ours, theirs in turns)
    won = sum(ratio >= 1 for ratio in ratios)
    return SpeedUp(len(batch), engine_ms, eager_ms, statistics.median(ratios), ratios[0], ratios[-1], len(turns), won)


def milliseconds(run: Run, batch: NDArray[Any]) -> float:
    """Return how long one run takes."""
    start = time.perf_counter()
    run(batch)
    return (time.perf_counter() - start) * 1e3


TURNS = 9
JUDGED = 16  # faces
NOISE = 0.03  # of the time, by which two engines may differ and still be equally fast


@dataclass(frozen=True)
class PrecisionFigures:
    """A precision: least milliseconds of one batch over several turns, and PSNR against eager in the worst face."""

    precision: str
    batch: int
    ms: float
    psnr_db: float | None

    def __str__(self) -> str:
        psnr = "equal to eager" if self.psnr_db is None else f"{self.psnr_db:.2f} dB"
        return f"{self.precision}: {self.ms:.1f} ms at batch {self.batch}, {psnr}"

    def beats(self, other: PrecisionFigures) -> bool:
        """Whether this one is at least as close to eager as the other, and faster."""
        mine, theirs = (float("inf") if one.psnr_db is None else one.psnr_db for one in (self, other))
        return mine >= theirs and self.ms < other.ms * (1 - NOISE)


def compare_precisions(graphs: Mapping[str, ModelProto], judge: Judge, batch: int) -> list[PrecisionFigures]:
    """Time graphs of one network, by precision, on this CPU, turn by turn."""
    inputs = judge.inputs[np.arange(batch) % len(judge.inputs)]
    runs: dict[str, Run] = {precision: _runner(graph) for precision, graph in graphs.items()}
    few = judge.first(JUDGED)
    quality = {precision: few(_in_batches(run, few)).psnr_db for precision, run in runs.items()}
    turns = [[milliseconds(run, inputs) for run in runs.values()] for _ in range(TURNS)]
    return [
        PrecisionFigures(precision, batch, float(ms), None if np.isinf(quality[precision]) else quality[precision])
        for precision, ms in zip(runs, np.min(turns, axis=0), strict=True)
    ]


def better_precision(compared: Sequence[PrecisionFigures], chosen: str) -> str | None:
    """Return a sentence where another precision is closer to eager and faster than the chosen one, None where not."""
    ours = next(other for other in compared if other.precision == chosen)
    better = min((other for other in compared if other.beats(ours)), key=lambda other: other.ms, default=None)
    if better is None:
        return None
    return (
        f"{chosen} does not pay on this machine: {better.precision} takes {better.ms:.1f} ms instead of {ours.ms:.1f}"
        f" at batch {ours.batch}, and is closer to eager"
    )


def _runner(graph: ModelProto) -> Run:
    session = open_graph(graph)
    name = session.get_inputs()[0].name
    return lambda batch: session.run(None, {name: batch})[0]


def _in_batches(run: Run, judge: Judge) -> np.ndarray:
    return np.concatenate([run(face[None]) for face in judge.inputs])
