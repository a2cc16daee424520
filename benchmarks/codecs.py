"""What the pipeline of fsr-run costs beside its codecs: faces from files to files with an engine that takes no time.

    python -m benchmarks.codecs
    python -m benchmarks.codecs --count 10000 --formats png --turns 3

Taking turns with the codecs alone: for each core a process that reads, decodes, encodes and writes the same files in a
loop, without hash, journal, check or order. The ratio is paired by turn.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks.rows import Rows
from fsr_deploy._util.cores import usable_cores
from fsr_deploy.images.codec import encode_frame
from fsr_deploy.images.opencv import cv2
from fsr_deploy.profiling.statistics import paired_ratio
from fsr_deploy.runtime.folder.jobs import find_work
from fsr_deploy.runtime.folder.upscale import RunOptions, upscale_files
from fsr_deploy.runtime.machine import machine
from fsr_deploy.runtime.session import Batch, EngineInfo
from fsr_deploy.synthetic import draw_face

RESULTS = Path(__file__).parent / "results" / "codecs.jsonl"
LR_SIDE, SR_SIDE, BATCH, DRAWN = 16, 128, 64, 8


class Nothing:
    """A session whose SR faces are there before it is asked."""

    in_flight = 2

    def __init__(self) -> None:
        self.info = EngineInfo("none", "cpu", "fp32", "0" * 64, (LR_SIDE, LR_SIDE), (SR_SIDE, SR_SIDE), BATCH)
        self._faces = np.stack([draw_face((3, seed), SR_SIDE) for seed in range(DRAWN)] * (BATCH // DRAWN))

    def upscale(self, batch: Batch) -> Batch:
        """Return (N, 128, 128, 3) drawn faces for (N, 16, 16, 3)."""
        return self._faces[: len(batch)]


def main(
    count: Annotated[int, typer.Option(help="faces")] = 3000,
    processes: Annotated[int, typer.Option(help="that decode and encode; 0 for threads")] = 0,
    formats: Annotated[str, typer.Option(help="of all files, with commas: png, jpg")] = "png,jpg",
    turns: Annotated[int, typer.Option(help="runs of each")] = 6,
    output: Annotated[Path, typer.Option("--output", "-o", help="the file of JSON lines to write")] = RESULTS,
) -> None:
    """Print the pipeline's rate beside that of the codecs alone."""
    facts = machine()
    around = {"files": count, "processes": processes, "cores": usable_cores(), "cpu": facts.cpu}
    rows = Rows(output, "codecs", go_on=True)
    with TemporaryDirectory() as name:
        folder = Path(name)
        for suffix in formats.split(","):
            frames = folder / suffix
            write_lr(frames, count, suffix)
            rates: dict[str, list[float]] = {"pipeline": [], "codecs_alone": []}
            for turn in range(turns):
                ways = (("pipeline", partial(pipeline, processes)), ("codecs_alone", codecs_alone))
                for way, work in ways[:: 1 if turn % 2 else -1]:
                    rates[way].append(count / work(frames, folder / f"{suffix}-{turn}-{way}"))
            ratio = paired_ratio(*([[rate] for rate in rates[way]] for way in ("pipeline", "codecs_alone")))
            times = {"times": ratio.value, "low": ratio.low, "high": ratio.high}
            rows.add({"format": suffix, **around}, {**{way: median(rates[way]) for way in rates}, **times})


def write_lr(folder: Path, count: int, suffix: str) -> None:
    """Write LR faces: drawn ones, over and over."""
    drawn = [encode_frame(draw_face((1, seed), LR_SIDE), f".{suffix}") for seed in range(DRAWN)]
    folder.mkdir()
    for index in range(count):
        (folder / f"{index:06d}.{suffix}").write_bytes(drawn[index % DRAWN])


def pipeline(processes: int, frames: Path, target: Path) -> float:
    """Return the seconds of a run of ours, from files to files, in a process of its own."""
    return max(_in_children(_ours, [(frames, target, processes)]))


def codecs_alone(frames: Path, target: Path) -> float:
    """Return the seconds in which a process on each core reads, decodes, encodes and writes its share of the files."""
    target.mkdir()
    paths, cores = sorted(frames.iterdir()), usable_cores()
    return max(_in_children(_alone, [(paths[core::cores], target) for core in range(cores)]))


def _in_children(work: Callable[..., float], arguments: Sequence[tuple[Any, ...]]) -> list[float]:
    """Return what ``work`` returns in new processes, which begin at the same time."""
    context = multiprocessing.get_context("spawn")
    begin, answers = context.Barrier(len(arguments)), context.SimpleQueue()
    children = [context.Process(target=_child, args=(begin, answers, work, given)) for given in arguments]
    for child in children:
        child.start()
    seconds: list[float] = [answers.get() for _ in children]
    for child in children:
        child.join()
    return seconds


def _child(begin: Any, answers: Any, work: Callable[..., float], given: tuple[Any, ...]) -> None:
    answers.put(work(begin, *given))


def _ours(begin: Any, frames: Path, target: Path, processes: int) -> float:
    session = Nothing()
    start = time.perf_counter()
    upscale_files(session, find_work(str(frames), str(target), None), RunOptions(), processes=processes)
    return time.perf_counter() - start


def _alone(begin: Any, paths: Sequence[Path], target: Path) -> float:
    cv2.setNumThreads(1)
    faces = Nothing().upscale(np.zeros((BATCH, LR_SIDE, LR_SIDE, 3), np.uint8))
    begin.wait()
    start = time.perf_counter()
    for index, path in enumerate(paths):
        pixels = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
        assert pixels is not None
        (target / path.name).write_bytes(encode_frame(faces[index % BATCH], path.suffix))
    return time.perf_counter() - start


if __name__ == "__main__":
    typer.run(main)
