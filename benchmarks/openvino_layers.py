"""Where a bundle's time goes in OpenVINO, by kind of operation and kernel, beside what this machine could do at most.

    python benchmarks/openvino_layers.py ov
    python benchmarks/openvino_layers.py ov --bf16

The times are OpenVINO's own counters, the median of several runs of one batch. The peaks are a large product of
matrices in FP32 (NumPy) and, where the CPU has BF16, in BF16 (PyTorch), and the copying of memory. A kernel's name
tells whether it is one of AMX ("amx").
"""

from __future__ import annotations

import time
from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import numpy as np
import openvino
import torch
import typer

from fsr_deploy._util.cores import physical_cores
from fsr_deploy.bundle.info import INT8_BF16, ONNX_NAME, read_bundle
from fsr_deploy.profiling.timing import MonotonicClock
from fsr_deploy.profiling.yardstick import ceilings
from fsr_deploy.runtime.backends.openvino_pairs import join_pairs
from fsr_deploy.runtime.machine import computes_bf16, machine

RUNS = 9
SIDE = 2048


def main(
    bundle: Annotated[Path, typer.Argument(help="a bundle of fsr-export")],
    bf16: Annotated[bool, typer.Option("--bf16", help="compute what is FP32 in BF16")] = False,
    batch: Annotated[int, typer.Option(help="faces at a time")] = 1,
    layout: Annotated[bool, typer.Option("--all", help="list every kernel, not the largest 20")] = False,
) -> None:
    """Print milliseconds by kind of operation and kernel, and the machine's peaks."""
    info = read_bundle(bundle).info
    core = openvino.Core()
    model = core.read_model(bundle / ONNX_NAME)
    join_pairs(model)  # as fsr-run does
    model.reshape([batch, info.lr_size, info.lr_size, 3])
    bf16 = bf16 or info.precision == INT8_BF16
    settings = {
        "INFERENCE_PRECISION_HINT": "bf16" if bf16 else "f32",
        "INFERENCE_NUM_THREADS": physical_cores(),
        "NUM_STREAMS": 1,
        "PERF_COUNT": True,
    }
    request = core.compile_model(model, "CPU", settings).create_infer_request()
    faces = np.random.default_rng(0).integers(0, 256, (batch, info.lr_size, info.lr_size, 3), np.uint8)
    runs = [by_kernel(request, faces) for _ in range(RUNS)]
    rows = {key: median(run.get(key, 0.0) for run in runs) for key in runs[-1]}
    total = sum(rows.values())
    computed = "BF16" if bf16 or info.precision == "bf16" else "FP32"
    print(f"{bundle.name}: {total:.1f} ms in kernels, batch {batch}, {computed}")
    for (kind, kernel), ms in sorted(rows.items(), key=lambda row: -row[1])[: None if layout else 20]:
        print(f"{ms:9.2f} ms {ms / total:6.1%}  {kind}  {kernel}")
    facts, peak = machine(), ceilings(MonotonicClock())
    print(f"{facts.cpu}, {facts.cores} cores, {' '.join(facts.instructions)}")
    bf16_peak = f", BF16 {bf16_gflops():.0f} GFLOP/s" if computes_bf16() else ""
    print(f"FP32 {peak.gflops:.0f} GFLOP/s{bf16_peak}, memory {peak.gbytes:.1f} GB/s")


def by_kernel(request: Any, faces: np.ndarray) -> dict[tuple[str, str], float]:
    """Return the milliseconds of one run, by kind of operation and kernel."""
    request.infer([faces])
    found: dict[tuple[str, str], float] = defaultdict(float)
    for node in request.profiling_info:
        if node.real_time.total_seconds() > 0:
            found[node.node_type, node.exec_type] += 1e3 * node.real_time.total_seconds()
    return dict(found)


def bf16_gflops() -> float:
    """Return the rate of a large product of matrices in BF16, the best of a few, within seconds."""
    left, right = (torch.ones(SIDE, SIDE, dtype=torch.bfloat16) for _ in range(2))
    times, end = [], time.perf_counter() + 3
    while not times or (len(times) < 10 and time.perf_counter() < end):
        start = time.perf_counter()
        left @ right
        times.append(time.perf_counter() - start)
    return 2e-9 * SIDE**3 / min(times)


if __name__ == "__main__":
    typer.run(main)
