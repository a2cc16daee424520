"""What limits a cluster: the rate of each stage on this machine, a model of many GPUs, and a check of the model.

    python -m benchmarks.scale stages tiny
    python -m benchmarks.scale check --files 300

``stages`` measures one core and the driver, and prints the model's table for 1, 8 and 64 GPUs. ``check`` runs real
clusters on this machine with a stand-in for slow storage, and compares their rates with the model's. docs/scale.md has
the results and what they are worth.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import numpy as np
import typer

from fsr_deploy._util.files import write_part
from fsr_deploy.cluster import actor, results, run, worker
from fsr_deploy.cluster.allocation import Allocation
from fsr_deploy.cluster.messages import WRITTEN, Outcome
from fsr_deploy.cluster.options import ClusterOptions
from fsr_deploy.images.codec import decode_frame, encode_frame, write_frame
from fsr_deploy.images.resize import lr_face
from fsr_deploy.runtime.folder import steps
from fsr_deploy.runtime.folder.jobs import Job, Work
from fsr_deploy.runtime.folder.journal import Journal, made_with
from fsr_deploy.runtime.folder.pipeline import CODEC_THREADS_PER_CORE
from fsr_deploy.runtime.folder.tally import Tally, new_summary
from fsr_deploy.runtime.folder.task import FaceTask
from fsr_deploy.runtime.folder.upscale import RunOptions
from fsr_deploy.runtime.machine import machine
from fsr_deploy.runtime.open import open_session
from fsr_deploy.runtime.session import EngineInfo
from fsr_deploy.synthetic import faces
from tests.engines import write_onnx

SECONDS = 1.0  # of each of the timings
TIMINGS = 5
# Assumptions, none of them measured: a GPU's engine, the cores of a node for each GPU, and its storage.
GPU_FACES = 2000.0
CORES_PER_GPU = 12
STORAGE_BYTES = 5e9
STORAGE_FILES = 20_000.0

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@dataclass(frozen=True)
class Rates:
    """Faces per second: of one core for both codecs, and of the driver; ``bytes`` of one SR face."""

    decode: float
    encode: float
    driver: float
    bytes: int


def model(gpus: int, rates: Rates) -> dict[str, float]:
    """Return the limit of each part of a cluster in faces per second; the smallest is the cluster's rate."""
    codecs = CORES_PER_GPU / (1 / rates.decode + 1 / rates.encode)
    return {
        "engines": gpus * GPU_FACES,
        "codecs": gpus * codecs,
        "driver": rates.driver,
        "storage, files": STORAGE_FILES,
        "storage, bytes": STORAGE_BYTES / rates.bytes,
    }


@app.command()
def stages(bundle: str, size: int = 128) -> None:
    """Measure one core and the driver, and print the model."""
    facts = machine()
    print(
        f"{facts.cpu}, {facts.cores} cores, {' '.join(facts.instructions)}; faces/s of one core, median (least to most)"
    )
    pictures = [np.ascontiguousarray(face) for face in faces(16, seed=1, size=size)]
    found: dict[str, float] = {}
    for suffix in (".png", ".jpg"):
        small = [encode_frame(np.array(lr_face(one, (16, 16), "crop")), suffix) for one in pictures]
        whole = [encode_frame(one, suffix) for one in pictures]
        found[f"decode 16x16 {suffix}"] = told(f"decode 16x16 {suffix}", small, lambda one, s=suffix: load(one, s))
        found[f"decode {size}x{size} {suffix}"] = told(
            f"decode {size}x{size} {suffix}", whole, lambda one, s=suffix: load(one, s)
        )
        found[f"encode {suffix}"] = told(
            f"encode {size}x{size} {suffix}", pictures, lambda one, s=suffix: encode_frame(one, s)
        )
        print(f"  an SR face in {suffix}: {np.mean([len(one) for one in whole]) / 1000:.1f} kB")
    session = open_session(bundle, "cpu", throughput=True, cores=1)
    batch = np.array(lr_face(pictures[0], session.info.lr_shape, "crop"))[None]
    told(f"engine {bundle}", [batch], session.upscale)
    placed = [driver_rate(session.info, 3000) for _ in range(TIMINGS)]
    print(f"the driver, journal and rename on this disk: {median(placed):.0f} ({min(placed):.0f} to {max(placed):.0f})")
    size_of = int(np.mean([len(encode_frame(one, ".png")) for one in pictures]))
    rates = Rates(found["decode 16x16 .png"], found["encode .png"], median(placed), size_of)
    heads = " | ".join(("GPUs", *model(1, rates), "rate, faces/s", "limit"))
    print(f"\n| {heads} |\n|{'---|' * (heads.count('|') + 1)}")
    for gpus in (1, 8, 64):
        limits = model(gpus, rates)
        least = min(limits, key=lambda name: limits[name])
        print(f"| {gpus} | {' | '.join(f'{rate:,.0f}' for rate in limits.values())} | {limits[least]:,.0f} | {least} |")


def load(content: bytes, suffix: str) -> Any:
    return lr_face(decode_frame(content, f"face{suffix}").pixels, (16, 16), "crop")


def told(name: str, items: Sequence[Any], step: Callable[[Any], Any]) -> float:
    """Return how often a step runs per second on this thread, and print it."""
    found = []
    for _ in range(TIMINGS):
        done, start = 0, time.perf_counter()
        while (spent := time.perf_counter() - start) < SECONDS:
            step(items[done % len(items)])
            done += 1
        found.append(done / spent)
    print(f"  {name}: {median(found):.0f} ({min(found):.0f} to {max(found):.0f})", flush=True)
    return median(found)


def driver_rate(info: EngineInfo, count: int) -> float:
    """Return how many outputs the driver records and puts in place per second."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        work = Work([Job(folder / f"{n}.jpg", folder / f"{n}.png") for n in range(count)], folder)
        tally = Tally(new_summary(info, work, FaceTask(), 1), True, lambda n: None, print)
        journal = Journal(folder)
        made = made_with(info, "crop")
        books = results.Results(work, folder, journal, frozenset(), made, 1, [1], tally)
        digest = hashlib.sha256(b"").hexdigest()
        for job in work.jobs:
            write_part(job.target, bytes(20_000))
        done = [
            Outcome(n, WRITTEN, "here cpu", "here 1", False, key=digest, sha256=digest, size=20_000, batch=1)
            for n in range(count)
        ]
        start = time.perf_counter()
        books.take([done[at : at + 64] for at in range(0, count, 64)])
        spent = time.perf_counter() - start
        journal.close()
        return count / spent


@dataclass(frozen=True)
class Storage:
    """A stand-in for storage: each file read or written waits ``latency`` seconds, and all nodes together write at most
    ``files`` per second, None for any number.
    """

    latency: float
    files: float | None
    lock: str

    def read(self, path: Path, size: int | None = None) -> bytes:
        """Read a file after a while."""
        time.sleep(self.latency)
        return READ(path, size)

    def write(self, path: Path, content: bytes) -> None:
        """Write a file after a while, and when it is its turn."""
        time.sleep(self.latency)
        if self.files:
            with open(self.lock, "w") as turn:  # noqa: PTH123
                fcntl.flock(turn, fcntl.LOCK_EX)
                time.sleep(1 / self.files)
        write_part(path, content)

    def predicted(self, actors: int) -> float:
        """Return the model's rate in faces per second, where engine and codecs are never the limit."""
        own = CODEC_THREADS_PER_CORE / (self.latency + (1 / self.files if self.files else 0))
        return min(actors * own, self.files or float("inf"))


READ = steps.read_picture


def slow_actor(storage: Storage) -> type:
    """Return an actor that works with slow storage."""

    class Slow(actor.Actor):
        def __init__(self, *arguments: Any) -> None:
            steps.read_picture = storage.read
            worker.write_part = storage.write
            super().__init__(*arguments)

    return Slow


@app.command()
def check(
    files: Annotated[int, typer.Option(help="faces of each run")] = 300,
    latency: Annotated[float, typer.Option(help="seconds that each read and each write waits")] = 0.1,
    limit: Annotated[float, typer.Option(help="files per second that the storage of the second check writes")] = 15,
) -> None:
    """Run real clusters of 1 and 2 actors over slow storage, and print their rates beside the model's."""
    print("| storage | actors | model, faces/s | measured, faces/s | |\n|---|---|---|---|---|")
    for name, files_per_second in (("waits", None), ("waits, and is shared", limit)):
        for actors in (1, 2):
            with tempfile.TemporaryDirectory() as folder:
                storage = Storage(latency, files_per_second, f"{folder}/turn")
                rate = measured(Path(folder), files, actors, storage)
            ratio = f"{rate / storage.predicted(actors):.2f}"
            print(f"| {name} | {actors} | {storage.predicted(actors):.1f} | {rate:.1f} | {ratio} |", flush=True)


def measured(folder: Path, files: int, actors: int, storage: Storage) -> float:
    """Return the rate of a run while all actors work, in faces per second."""
    write_onnx(folder / "model.onnx")
    rng = np.random.default_rng(0)
    for index in range(files):
        write_frame(str(folder / f"faces/{index:05}.png"), rng.integers(0, 256, (4, 4, 3), np.uint8))
    arrivals: list[tuple[float, str, int]] = []
    take = results.Results.take

    def timed(self: results.Results, blocks: Iterable[Sequence[Outcome]]) -> None:
        take(self, noted(blocks, arrivals))

    options = RunOptions()
    run.Actor = slow_actor(storage)
    run.allocate = lambda nodes, gpus: Allocation(actors, 1, False)
    results.Results.take = timed
    try:
        work = options.find(str(folder / "faces"), str(folder / "out"))
        done = run.upscale_on_cluster(ClusterOptions(str(folder / "model.onnx"), "local", "cpu"), work, options)
    finally:
        results.Results.take = take
    assert done.summary.done == files
    return steady(arrivals)


def noted(blocks: Iterable[Sequence[Outcome]], arrivals: list[tuple[float, str, int]]) -> Iterator[Sequence[Outcome]]:
    for block in blocks:
        if block:
            arrivals.append((time.perf_counter(), block[0].process, len(block)))
        yield block


def steady(arrivals: Sequence[tuple[float, str, int]]) -> float:
    """Return the rate from when every actor has delivered once until the first has delivered for the last time."""
    times = {process: [at for at, other, _ in arrivals if other == process] for process in {p for _, p, _ in arrivals}}
    start = max(own[0] for own in times.values())
    end = min(own[-1] for own in times.values())
    return sum(count for at, _, count in arrivals if start < at <= end) / (end - start)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    app()
