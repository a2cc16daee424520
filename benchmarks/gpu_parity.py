"""Is it right? Compare plans with eager at many batch sizes, and every way of running them with the plainest one.

    python -m benchmarks.gpu_parity bundles/aminet-fp16

Against eager: the faces in the bundle's reference.npz. Against the plainest way (one batch at a time, no CUDA graph):
200 random batches with two in flight and graphs, and arrays that stay on the GPU; these have to be equal to the bit.
Ends with exit code 5 where anything is not.
"""

from __future__ import annotations

from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks.gpu_common import Device, GoOn, Output, begin, end, faces
from benchmarks.rows import Rows, read_rows
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
    device: Device = 0,
    output: Output = None,
    go_on: GoOn = False,
) -> None:
    """Compare plans with eager and with themselves."""
    rows = begin("parity", output, device, go_on=go_on)
    names = [directory.name for directory in bundles]
    for directory in bundles:
        with rows.attempt(bundle=directory.name, comparison="loading"):
            examine(rows, directory, [int(size) for size in batches.split(",")], f"cuda:{device}")
    wrong = any(row.get("right") is False for row in read_rows(rows.path) if row.get("bundle") in names)
    if wrong and not rows.failures:
        raise typer.Exit(ExitCode.PARITY)
    end(rows)


def examine(rows: Rows, directory: Path, batches: list[int], device: str) -> None:
    """Add the rows of one bundle; each says whether it is ``right``."""
    bundle = read_bundle(directory)
    file = read_engine_file(directory / PLAN_NAME)
    budget = budget_for(bundle.info.precision, **bundle.info.budget)
    reference = read_reference(bundle.file(REFERENCE_NAME), bundle.info)
    with ExitStack() as stack:
        session = stack.enter_context(closing(TensorRTSession(file, device)))
        plain = stack.enter_context(closing(TensorRTSession(file, device, in_flight=1, graphs=False)))

        def against_eager(batch: int) -> dict[str, Any]:
            (row,) = prove(session.upscale, session.info.engine, reference, [batch])
            return {**row.as_dict(), "right": not shortfalls([row], budget)}

        def graphs() -> dict[str, Any]:
            for _ in range(2 * session.in_flight):  # a lane captures the second of two batches of a size
                session.upscale(faces(session.info.best_batch, session.info.lr_shape))
            return {"graph_failure": session.graph_failure, "right": not session.graph_failure}

        key = {"bundle": directory.name}
        for batch in batches:
            if session.info.max_batch is None or batch <= session.info.max_batch:
                against = partial(against_eager, batch)
                rows.measure({**key, "comparison": "eager in FP32", "batch": batch}, against)
        against = partial(in_flight_against_plain, session, plain)
        rows.measure({**key, "comparison": "in flight with graphs, one at a time without"}, against)
        against = partial(on_device_against_plain, session, plain)
        rows.measure({**key, "comparison": "arrays on the GPU, arrays on the host"}, against)
        rows.measure({**key, "comparison": "graphs captured, graphs wanted"}, graphs)


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
        "in_flight": session.in_flight,
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
    return {"max_error": error, "right": error == 0}


if __name__ == "__main__":
    typer.run(main)
