"""How fast? Latency at batch 1 with and without CUDA graph, throughput at larger batches, GPU memory; beside eager.

    python -m benchmarks.gpu_speed bundles/aminet-fp16 --eager-python /usr/bin/python3

Faces go from host memory to host memory. Throughput is measured with two batches in flight, as fsr-run has them.
``--eager-python`` names a Python with CUDA PyTorch: eager FP32, eager FP16 in channels-last and torch.compile
(max-autotune) FP16 are then measured in the same run, one after the other (benchmarks.gpu_eager).
"""

from __future__ import annotations

import json
import statistics
import time
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.gpu_common import Device, GoOn, Output, begin, end, faces
from benchmarks.other_python import run_in
from benchmarks.rows import Rows
from fsr_deploy.bundle.engine_file import EngineFile, read_engine_file
from fsr_deploy.bundle.info import PLAN_NAME, read_bundle
from fsr_deploy.runtime.cuda import api as cuda
from fsr_deploy.runtime.tensorrt.session import TensorRTSession

BATCHES = "8,32,64,128"
WARM_UP = 20


def main(
    bundles: Annotated[list[Path], typer.Argument(help="bundles with plans")],
    batches: Annotated[str, typer.Option(help="batch sizes for throughput, with commas")] = BATCHES,
    seconds: Annotated[float, typer.Option(help="measuring time of each figure")] = 3.0,
    eager_python: Annotated[Path | None, typer.Option(help="a Python with CUDA PyTorch")] = None,
    eager_seconds: Annotated[float, typer.Option(help="after which that Python is ended")] = 600.0,
    device: Device = 0,
    output: Output = None,
    go_on: GoOn = False,
) -> None:
    """Measure plans, and eager where a Python for it is named."""
    sizes = [int(size) for size in batches.split(",")]
    rows = begin("speed", output, device, go_on=go_on)
    for directory in bundles:
        with rows.attempt(bundle=directory.name, engine="loading"):
            measure(rows, directory, sizes, seconds, device)
        if eager_python is not None:
            key = {"bundle": directory.name, "engine": "eager"}
            with rows.attempt(**key):
                if failure := eager(eager_python, directory, rows.path, [1, *sizes], seconds, device, eager_seconds):
                    rows.add(key, {"failed": failure})
    end(rows)


def measure(rows: Rows, directory: Path, batches: list[int], seconds: float, device: int) -> None:
    """Add the rows of one bundle: batch 1 with and without CUDA graph, then the larger ones."""
    file = read_engine_file(directory / PLAN_NAME)
    for graphs in (True, False):
        engine = f"TensorRT, {'CUDA graph' if graphs else 'no CUDA graph'}"
        key = {"bundle": directory.name, "engine": engine, "batch": 1}
        rows.measure(key, partial(latency, file, device, seconds, graphs=graphs))
    key = {"bundle": directory.name, "engine": "TensorRT, batches in flight"}
    left = [size for size in batches if not rows.has(**key, batch=size)]
    if not left:
        return
    cuda.use_device(device)
    free_before, _ = cuda.memory()
    session = TensorRTSession(file, f"cuda:{device}")
    try:
        for size in left:
            if session.info.max_batch is None or size <= session.info.max_batch:
                rows.measure({**key, "batch": size}, partial(throughput, session, size, seconds, free_before))
    finally:
        session.close()


def latency(file: EngineFile, device: int, seconds: float, *, graphs: bool) -> dict[str, Any]:
    """Return the figures of batch 1: milliseconds from the LR face in host memory to the SR face there.

    ``graph_failure`` is why it was not launched as a CUDA graph, where it should have been.
    """
    session = TensorRTSession(file, f"cuda:{device}", in_flight=1, graphs=graphs)
    try:
        batch = faces(1, session.info.lr_shape)
        for _ in range(WARM_UP):
            session.upscale(batch)
        times: list[float] = []
        end_at = time.perf_counter() + seconds
        while not times or time.perf_counter() < end_at:
            start = time.perf_counter()
            session.upscale(batch)
            times.append((time.perf_counter() - start) * 1e3)
        p99 = sorted(times)[int(0.99 * (len(times) - 1))]
        failure = {"graph_failure": session.graph_failure} if graphs else {}
        return {"ms": statistics.median(times), "p99_ms": p99, "samples": len(times), **failure}
    finally:
        session.close()


def throughput(session: TensorRTSession, size: int, seconds: float, free_before: int) -> dict[str, Any]:
    """Return the figures of a batch size: faces per second with all lanes busy, and the memory that the GPU gave."""
    batch = faces(size, session.info.lr_shape)
    stream(session, batch, WARM_UP)
    start = time.perf_counter()
    runs = 0
    while not runs or time.perf_counter() - start < seconds:
        stream(session, batch, WARM_UP)
        runs += WARM_UP
    rate = runs * size / (time.perf_counter() - start)
    used = (free_before - cuda.memory()[0]) / 2**20
    return {
        "in_flight": session.in_flight,
        "faces_per_s": rate,
        "ms": 1e3 * size / rate,
        "gpu_mib": used,
        "graph_failure": session.graph_failure,
    }


def stream(session: TensorRTSession, batch: Any, count: int) -> None:
    """Run a batch ``count`` times with all lanes busy and fetch every result."""
    pending = []
    for _ in range(count):
        pending.append(session.submit(batch))
        if len(pending) == session.in_flight:
            pending.pop(0).result()
    for last in pending:
        last.result()


def eager(
    python: Path, directory: Path, output: Path, batches: list[int], seconds: float, device: int, limit: float
) -> str:
    """Let another Python add its rows to the same file; return why it failed, "" where it did not."""
    info = read_bundle(directory).info
    work = {"model": info.model, "options": info.options, "lr_size": info.lr_size, "scale": info.scale}
    command = ["-m", "benchmarks.gpu_eager", json.dumps(work), "--output", str(output.absolute()), "--go-on"]
    command += ["--batches", ",".join(map(str, batches)), "--seconds", str(seconds), "--device", str(device)]
    return run_in(python, command, limit)


if __name__ == "__main__":
    typer.run(main)
