"""How fast? Latency at batch 1 with and without CUDA graph, throughput at larger batches, GPU memory; beside eager.

    python -m benchmarks.gpu_speed bundles/aminet-fp16 --eager-python /usr/bin/python3

Faces go from host memory to host memory. Throughput is measured with two batches in flight, as fsr-run has them.
``--eager-python`` names a Python with CUDA PyTorch: eager FP32, eager FP16 in channels-last and torch.compile
(max-autotune) FP16 are then measured in the same run, one after the other (benchmarks.gpu_eager).
"""

from __future__ import annotations

import json
import statistics
import subprocess
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.gpu_common import faces, keep, show
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
    device: Annotated[int, typer.Option(help="number of the GPU")] = 0,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="the JSON file to write")] = None,
) -> None:
    """Measure plans, and eager where a Python for it is named."""
    sizes = [int(size) for size in batches.split(",")]
    rows: list[dict[str, Any]] = []
    for directory in bundles:
        file = read_engine_file(directory / PLAN_NAME)
        found = [latency(file, device, seconds, graphs=graphs) for graphs in (True, False)]
        found += throughputs(file, device, sizes, seconds)
        if eager_python is not None:
            found += eager(eager_python, directory, [1, *sizes], seconds, device)
        for row in found:
            rows.append({"bundle": directory.name, **row})
            show(rows[-1])
    keep("speed", rows, output, device)


def latency(file: EngineFile, device: int, seconds: float, *, graphs: bool) -> dict[str, Any]:
    """Return the row of batch 1: milliseconds from the LR face in host memory to the SR face there."""
    session = TensorRTSession(file, f"cuda:{device}", in_flight=1, graphs=graphs)
    batch = faces(1, session.info.lr_shape)
    for _ in range(WARM_UP):
        session.upscale(batch)
    times = []
    end = time.perf_counter() + seconds
    while not times or time.perf_counter() < end:
        start = time.perf_counter()
        session.upscale(batch)
        times.append((time.perf_counter() - start) * 1e3)
    failure = session.graph_failure
    session.close()
    name = f"TensorRT, {'CUDA graph' if graphs and not failure else 'no CUDA graph'}"
    p99 = sorted(times)[int(0.99 * (len(times) - 1))]
    return {"engine": name, "batch": 1, "ms": statistics.median(times), "p99_ms": p99, "samples": len(times)}


def throughputs(file: EngineFile, device: int, batches: list[int], seconds: float) -> list[dict[str, Any]]:
    """Return a row for each batch size: faces per second with all lanes busy, and the memory that the GPU gave."""
    cuda.use_device(device)
    free_before, _ = cuda.memory()
    session = TensorRTSession(file, f"cuda:{device}")
    rows = []
    for size in batches:
        if session.info.max_batch is not None and size > session.info.max_batch:
            continue
        batch = faces(size, session.info.lr_shape)
        stream(session, batch, WARM_UP)
        start = time.perf_counter()
        runs = 0
        while not runs or time.perf_counter() - start < seconds:
            stream(session, batch, WARM_UP)
            runs += WARM_UP
        rate = runs * size / (time.perf_counter() - start)
        used = (free_before - cuda.memory()[0]) / 2**20
        name = f"TensorRT, {session.in_flight} in flight"
        rows.append({"engine": name, "batch": size, "faces_per_s": rate, "ms": 1e3 * size / rate, "gpu_mib": used})
    session.close()
    return rows


def stream(session: TensorRTSession, batch: Any, count: int) -> None:
    """Run a batch ``count`` times with all lanes busy and fetch every result."""
    pending = []
    for _ in range(count):
        pending.append(session.submit(batch))
        if len(pending) == session.in_flight:
            pending.pop(0).result()
    for last in pending:
        last.result()


def eager(python: Path, directory: Path, batches: list[int], seconds: float, device: int) -> list[dict[str, Any]]:
    """Return the rows that another Python measures."""
    info = read_bundle(directory).info
    work = {"model": info.model, "options": info.options, "lr_size": info.lr_size, "scale": info.scale}
    command = [str(python), "-m", "benchmarks.gpu_eager", json.dumps(work)]
    command += ["--batches", ",".join(map(str, batches)), "--seconds", str(seconds), "--device", str(device)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent.parent, check=False)
    if done.returncode:
        return [{"engine": "eager", "failed": f"{python} ended with {done.returncode}"}]
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    typer.run(main)
