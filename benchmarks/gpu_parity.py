"""Is it right? Compare plans with eager at many batch sizes, and every way of running them with the plainest one.

    python -m benchmarks.gpu_parity bundles/aminet-fp16

Against eager: the faces in the bundle's reference.npz. Against the plainest way (one batch at a time, no CUDA graph):
200 random batches with two in flight and graphs, and arrays that stay on the GPU; these have to be equal to the bit.
Ends with exit code 5 where anything is not.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks.gpu_common import faces, keep, show
from fsr_deploy.bundle.engine_file import read_engine_file
from fsr_deploy.bundle.info import PLAN_NAME, REFERENCE_NAME, read_bundle
from fsr_deploy.bundle.reference import read_reference
from fsr_deploy.errors import ExitCode
from fsr_deploy.exporting.proof.parity import budget_for, prove, shortfalls
from fsr_deploy.runtime.cuda import api as cuda
from fsr_deploy.runtime.cuda.arrays import DeviceArray
from fsr_deploy.runtime.tensorrt.session import TensorRTSession

BATCHES = "1,2,3,7,8,31,32,64,128"
RANDOM_BATCHES = 200


def main(
    bundles: Annotated[list[Path], typer.Argument(help="bundles with plans")],
    batches: Annotated[str, typer.Option(help="batch sizes, with commas")] = BATCHES,
    device: Annotated[int, typer.Option(help="number of the GPU")] = 0,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="the JSON file to write")] = None,
) -> None:
    """Compare plans with eager and with themselves."""
    rows: list[dict[str, Any]] = []
    wrong = False
    for directory in bundles:
        for row in examine(directory, [int(size) for size in batches.split(",")], f"cuda:{device}"):
            show(row)
            rows.append(row)
            wrong |= not row["right"]
    keep("parity", rows, output, device)
    raise typer.Exit(ExitCode.PARITY if wrong else ExitCode.DONE)


def examine(directory: Path, batches: list[int], device: str) -> list[dict[str, Any]]:
    """Return the rows of one bundle; each says whether it is ``right``."""
    bundle = read_bundle(directory)
    file = read_engine_file(directory / PLAN_NAME)
    session = TensorRTSession(file, device)
    plain = TensorRTSession(file, device, in_flight=1, graphs=False)
    budget = budget_for(bundle.info.precision, **bundle.info.budget)
    reference = read_reference(bundle.file(REFERENCE_NAME), bundle.info)
    fitting = [batch for batch in batches if session.info.max_batch is None or batch <= session.info.max_batch]
    rows = []
    for row in prove(session.upscale, session.info.engine, reference, fitting):
        rows.append({"bundle": directory.name, **row.as_dict(), "right": not shortfalls([row], budget)})
    rows.append({"bundle": directory.name, **in_flight_against_plain(session, plain)})
    rows.append({"bundle": directory.name, **on_device_against_plain(session, plain)})
    rows.append({"bundle": directory.name, "graph_failure": session.graph_failure, "right": not session.graph_failure})
    session.close()
    plain.close()
    return rows


def in_flight_against_plain(session: TensorRTSession, plain: TensorRTSession) -> dict[str, Any]:
    """Run random batches, most of one size, with as many in flight as can be; count those that differ."""
    rng = np.random.default_rng(1)
    best, largest = session.info.best_batch, session.info.max_batch or session.info.best_batch
    sizes = [best if rng.random() < 0.7 else int(rng.integers(1, largest + 1)) for _ in range(RANDOM_BATCHES)]
    batches = [faces(size, session.info.lr_shape, seed) for seed, size in enumerate(sizes)]
    pending = [session.submit(batch) for batch in batches]
    differing = [
        int(np.abs(later.result().astype(int) - plain.upscale(batch).astype(int)).max())
        for later, batch in zip(pending, batches, strict=True)
    ]
    worst = max(differing)
    return {
        "comparison": f"{session.in_flight} in flight with graphs, one at a time without",
        "batches": len(batches),
        "differing": sum(value > 0 for value in differing),
        "max_error": worst,
        "right": worst == 0,
    }


def on_device_against_plain(session: TensorRTSession, plain: TensorRTSession) -> dict[str, Any]:
    """Run one batch that is uploaded and downloaded outside the session."""
    batch = faces(session.info.best_batch, session.info.lr_shape)
    stream = cuda.Stream()
    lr = DeviceArray(batch.shape, batch.dtype, int(session.info.device.removeprefix("cuda:")), stream.handle)
    host_in = cuda.PinnedArray(batch.shape, batch.dtype)
    host_out = cuda.PinnedArray((len(batch), *session.info.sr_shape, 3), batch.dtype)
    host_in.array[:] = batch
    cuda.upload(lr.memory.address, host_in.address, batch.nbytes, stream.handle)
    sr = session.upscale_on_device(lr, stream.handle)
    cuda.download(host_out.address, sr.memory.address, host_out.array.nbytes, stream.handle)
    stream.synchronize()
    error = int(np.abs(host_out.array.astype(int) - plain.upscale(batch).astype(int)).max())
    for resource in (host_in, host_out, stream):
        resource.close()
    return {"comparison": "arrays on the GPU, arrays on the host", "max_error": error, "right": error == 0}


if __name__ == "__main__":
    typer.run(main)
