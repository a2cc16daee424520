"""Is a precision worth what it costs: every precision of one network on this machine, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import ModelProto

from fsr_deploy.exporting.graph.sessions import open_graph
from fsr_deploy.exporting.proof.latency import Run, milliseconds
from fsr_deploy.exporting.proof.quality import Judge

TURNS = 9
JUDGED = 16  # faces
NOISE = 0.03  # of the time, by which two engines may differ and still be equally fast


@dataclass(frozen=True)
class Offer:
    """A precision: least milliseconds of one batch over several turns, and PSNR against eager in the worst face."""

    precision: str
    batch: int
    ms: float
    psnr_db: float | None

    def __str__(self) -> str:
        psnr = "equal to eager" if self.psnr_db is None else f"{self.psnr_db:.2f} dB"
        return f"{self.precision}: {self.ms:.1f} ms at batch {self.batch}, {psnr}"

    def beats(self, other: Offer) -> bool:
        """Whether this one is at least as close to eager as the other, and faster."""
        mine, theirs = (float("inf") if offer.psnr_db is None else offer.psnr_db for offer in (self, other))
        return mine >= theirs and self.ms < other.ms * (1 - NOISE)


def compare_precisions(graphs: Mapping[str, ModelProto], judge: Judge, batch: int) -> list[Offer]:
    """Time graphs of one network, by precision, on this CPU, turn by turn."""
    inputs = judge.inputs[np.arange(batch) % len(judge.inputs)]
    runs: dict[str, Run] = {precision: _runner(graph) for precision, graph in graphs.items()}
    few = judge.first(JUDGED)
    quality = {precision: few(_in_batches(run, few)).psnr_db for precision, run in runs.items()}
    turns = [[milliseconds(run, inputs) for run in runs.values()] for _ in range(TURNS)]
    return [
        Offer(precision, batch, float(ms), None if np.isinf(quality[precision]) else quality[precision])
        for precision, ms in zip(runs, np.min(turns, axis=0), strict=True)
    ]


def no_bargain(offers: Sequence[Offer], chosen: str) -> str | None:
    """Return a sentence where another precision is closer to eager and faster than the chosen one, None where not."""
    ours = next(offer for offer in offers if offer.precision == chosen)
    better = min((offer for offer in offers if offer.beats(ours)), key=lambda offer: offer.ms, default=None)
    if better is None:
        return None
    return (
        f"{chosen} is no bargain on this machine: {better.precision} takes {better.ms:.1f} ms instead of {ours.ms:.1f}"
        f" at batch {ours.batch}, and is closer to eager"
    )


def _runner(graph: ModelProto) -> Run:
    session = open_graph(graph)
    name = session.get_inputs()[0].name
    return lambda batch: session.run(None, {name: batch})[0]


def _in_batches(run: Run, judge: Judge) -> np.ndarray:
    return np.concatenate([run(face[None]) for face in judge.inputs])
