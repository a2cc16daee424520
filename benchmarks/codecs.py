"""What the pipeline of fsr-run costs beside its codecs: faces from files to files with an engine that takes no time.

    python -m benchmarks.codecs
    python -m benchmarks.codecs --count 10000 --formats png --turns 3 --processes 2
    python -m benchmarks.codecs --side 512 --count 500

Taking turns with the codecs alone: for each core a process that reads, decodes, encodes and writes the same files in a
loop, without hash, journal, check or order. The ratio is paired by turn.

Beside the rates stand milliseconds of processor time for a face: of the process that runs, and of those that decode and
encode for it. What they take to begin, found by a run of a few faces, is not in them. From these follows what many
cores would do: they share all of that time, and nothing is faster than the one process that runs. With threads there
is no such model, since they hold each other back.
"""

from __future__ import annotations

import multiprocessing
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
SCALE, BATCH, DRAWN = 8, 64, 8
FEW = 128  # faces, for what a run takes to begin
MANY_CORES = 16


class Nothing:
    """A session whose SR faces are there before it is asked."""

    in_flight = 2

    def __init__(self, side: int) -> None:
        lr_side = side // SCALE
        self.info = EngineInfo("none", "cpu", "fp32", "0" * 64, (lr_side, lr_side), (side, side), BATCH)
        self._faces = np.stack([draw_face((3, seed), side) for seed in range(DRAWN)] * (BATCH // DRAWN))

    def upscale(self, batch: Batch) -> Batch:
        """Return (N, side, side, 3) drawn faces for N LR faces."""
        return self._faces[: len(batch)]


def main(
    count: Annotated[int, typer.Option(help="faces")] = 3000,
    processes: Annotated[int, typer.Option(help="that decode and encode; 0 for threads")] = 0,
    formats: Annotated[str, typer.Option(help="of all files, with commas: png, jpg")] = "png,jpg",
    turns: Annotated[int, typer.Option(help="runs of each")] = 6,
    side: Annotated[int, typer.Option(help="of an SR face, in pixels")] = 128,
    state: Annotated[str, typer.Option(help="of fsr-deploy, to tell its rows from those of another")] = "now",
    output: Annotated[Path, typer.Option("--output", "-o", help="the file of JSON lines to write")] = RESULTS,
) -> None:
    """Print the pipeline's rate beside that of the codecs alone."""
    facts = machine()
    around = {
        "state": state,
        "side": side,
        "files": count,
        "processes": processes,
        "cores": usable_cores(),
        "cpu": ", ".join((facts.cpu, *facts.instructions)),
    }
    rows = Rows(output, "codecs", go_on=True)
    with TemporaryDirectory() as name:
        folder = Path(name)
        for suffix in formats.split(","):
            frames = folder / suffix
            write_lr(frames, count, suffix, side // SCALE)
            write_lr(begun := folder / f"{suffix}-few", FEW, suffix, side // SCALE)
            few = [pipeline(side, processes, begun, folder / f"{suffix}-few-{turn}") for turn in range(turns)]
            runs, alone = [], []
            for turn in range(turns):
                for ours in (turn % 2 == 0, turn % 2 == 1):
                    target = folder / f"{suffix}-{turn}-{ours}"
                    if ours:
                        runs.append(pipeline(side, processes, frames, target))
                    else:
                        alone.append(codecs_alone(side, frames, target))
            rates, alone_rates = ([count / run.seconds for run in measured] for measured in (runs, alone))
            ratio = paired_ratio([[rate] for rate in rates], [[rate] for rate in alone_rates])
            figures = {
                "pipeline": median(rates),
                "codecs_alone": median(alone_rates),
                "times": ratio.value,
                "low": ratio.low,
                "high": ratio.high,
                **processor_time(few, runs, alone, count, processes > 0),
            }
            rows.add({"format": suffix, **around}, figures)


@dataclass(frozen=True)
class Run:
    """The seconds of a run, and those of processor time in its own process and in those it has begun."""

    seconds: float
    own: float
    children: float = 0.0


def processor_time(
    few: Sequence[Run], runs: Sequence[Run], alone: Sequence[Run], count: int, processes: bool
) -> dict[str, float]:
    """Return the processor time of a face in milliseconds and, for ``processes``, what follows for MANY_CORES."""

    def face(seconds: Callable[[Run], float]) -> float:
        return (median(map(seconds, runs)) - median(map(seconds, few))) / (count - FEW)

    own, children = face(lambda run: run.own), face(lambda run: run.children)
    codecs = median(run.own for run in alone) / count
    times = {"own_ms": 1e3 * own, "children_ms": 1e3 * children, "codecs_alone_ms": 1e3 * codecs}
    if not processes:
        return times
    modelled = min(MANY_CORES / (own + children), 1 / own)
    return {**times, f"on_{MANY_CORES}_cores": modelled, f"times_on_{MANY_CORES}_cores": modelled * codecs / MANY_CORES}


def write_lr(folder: Path, count: int, suffix: str, side: int) -> None:
    """Write LR faces: drawn ones, over and over."""
    drawn = [encode_frame(draw_face((1, seed), side), f".{suffix}") for seed in range(DRAWN)]
    folder.mkdir()
    for index in range(count):
        (folder / f"{index:06d}.{suffix}").write_bytes(drawn[index % DRAWN])


def pipeline(side: int, processes: int, frames: Path, target: Path) -> Run:
    """Return what a run of ours takes, from files to files, in a process of its own."""
    (run,) = _in_children(_ours, [(side, frames, target, processes)])
    return run


def codecs_alone(side: int, frames: Path, target: Path) -> Run:
    """Return what it takes a process on each core to read, decode, encode and write its share of the files."""
    target.mkdir()
    paths, cores = sorted(frames.iterdir()), usable_cores()
    runs = _in_children(_alone, [(side, paths[core::cores], target) for core in range(cores)])
    return Run(max(run.seconds for run in runs), sum(run.own for run in runs))


def _in_children(work: Callable[..., Run], arguments: Sequence[tuple[Any, ...]]) -> list[Run]:
    """Return what ``work`` returns in new processes, which begin at the same time."""
    context = multiprocessing.get_context("spawn")
    begin, answers = context.Barrier(len(arguments)), context.SimpleQueue()
    children = [context.Process(target=_child, args=(begin, answers, work, given)) for given in arguments]
    for child in children:
        child.start()
    measured: list[Run] = [answers.get() for _ in children]
    for child in children:
        child.join()
    return measured


def _child(begin: Any, answers: Any, work: Callable[..., Run], given: tuple[Any, ...]) -> None:
    answers.put(work(begin, *given))


def _ours(begin: Any, side: int, frames: Path, target: Path, processes: int) -> Run:
    session = Nothing(side)
    start, own = time.perf_counter(), time.process_time()
    upscale_files(session, find_work(str(frames), str(target), None), RunOptions(), processes=processes)
    seconds, own = time.perf_counter() - start, time.process_time() - own
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Run(seconds, own, children.ru_utime + children.ru_stime)


def _alone(begin: Any, side: int, paths: Sequence[Path], target: Path) -> Run:
    cv2.setNumThreads(1)
    faces = Nothing(side).upscale(np.zeros((BATCH, side // SCALE, side // SCALE, 3), np.uint8))
    begin.wait()
    start, own = time.perf_counter(), time.process_time()
    for index, path in enumerate(paths):
        pixels = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
        assert pixels is not None
        (target / path.name).write_bytes(encode_frame(faces[index % BATCH], path.suffix))
    return Run(time.perf_counter() - start, time.process_time() - own)


if __name__ == "__main__":
    typer.run(main)
