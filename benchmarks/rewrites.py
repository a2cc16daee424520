"""Time each rewrite for the CPU, on and off, side by side in ONNX Runtime.

    python benchmarks/rewrites.py aminet

The network (random weights) is exported with all rewrites, with each one left out in turn, and with those alone that
every target gets. The graphs take turns within each round, so that all see the same load of the machine. One thread
and its CPU time: what other processes disturb least.
"""

from __future__ import annotations

import json
import os
import platform
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import numpy as np
import onnxruntime
import torch
import typer

from fsr_deploy._util.cores import usable_cores
from fsr_deploy.exporting.graph.deployable import Deployable
from fsr_deploy.exporting.graph.onnx_writer import export_onnx
from fsr_deploy.exporting.graph.trace import INPUT
from fsr_deploy.exporting.rewrite.rewrites import ONNXRUNTIME, REWRITES, Rewrite, rewrite
from fsr_deploy.models import registry

LR_SIZE = 16
ALL, BASE = "all", "base"
RESULTS = Path(__file__).parent / "results"


def main(
    model: Annotated[str, typer.Argument(help="a network's name")] = "aminet",
    rounds: Annotated[int, typer.Option(help="runs of each graph")] = 20,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="the JSON file to write")] = None,
) -> None:
    """Time each rewrite for the CPU, on and off."""
    torch.manual_seed(0)
    network = registry.build(model).eval()
    with tempfile.TemporaryDirectory() as folder:
        sessions = {name: session(network, steps, Path(folder)) for name, steps in choices()}
    faces = np.random.default_rng(0).integers(0, 256, (1, LR_SIZE, LR_SIZE, 3), dtype=np.uint8)
    times = take_turns(sessions, faces, rounds)
    rows = [row(name, values, times[ALL]) for name, values in times.items()]
    for line in rows:
        print(line)
    path = output or RESULTS / f"rewrites-{model}.json"
    path.write_text(json.dumps({"model": model, "rounds": rounds, **machine(), "rows": rows}, indent=2) + "\n")


def choices() -> Iterator[tuple[str, Sequence[Rewrite]]]:
    """Yield names and rewrites: all for the CPU, those for every target, and all but one."""
    steps = [step for step in REWRITES if "onnxruntime" in step.targets]
    yield ALL, steps
    yield BASE, [step for step in steps if step.targets != ONNXRUNTIME]
    for left_out in steps:
        if left_out.targets == ONNXRUNTIME:
            yield f"without {left_out.name}", [step for step in steps if step is not left_out]


def session(network: torch.nn.Module, steps: Sequence[Rewrite], folder: Path) -> onnxruntime.InferenceSession:
    path = folder / "model.onnx"
    deployable = Deployable(
        rewrite(network, "onnxruntime", [replace(step, targets=ONNXRUNTIME) for step in steps]), LR_SIZE
    ).eval()
    export_onnx(deployable, path, lr_size=LR_SIZE, batches=(1, 1, 1), precision="fp32")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def take_turns(
    sessions: dict[str, onnxruntime.InferenceSession], faces: np.ndarray, rounds: int
) -> dict[str, list[float]]:
    """Return the milliseconds of CPU time of each session's runs."""
    times: dict[str, list[float]] = {name: [] for name in sessions}
    for engine in sessions.values():
        engine.run(None, {INPUT: faces})
    for _ in range(rounds):
        for name, engine in sessions.items():
            start = time.process_time()
            engine.run(None, {INPUT: faces})
            times[name].append(1e3 * (time.process_time() - start))
    return times


def row(name: str, values: Sequence[float], reference: Sequence[float]) -> dict[str, Any]:
    """Return the fastest and the median run, and the median ratio to "all" within a round."""
    ratios = [ours / theirs for ours, theirs in zip(values, reference, strict=True)]
    return {
        "graph": name,
        "fastest_ms": round(min(values), 2),
        "median_ms": round(median(values), 2),
        "times_all": round(median(ratios), 3),
    }


def machine() -> dict[str, Any]:
    cpuinfo = Path("/proc/cpuinfo")
    names = [line for line in cpuinfo.read_text().splitlines() if "model name" in line] if cpuinfo.exists() else []
    return {
        "cpu": names[0].split(": ")[1] if names else platform.processor(),
        "cores": usable_cores(),
        "load_average": round(os.getloadavg()[0], 1),
        "onnxruntime": onnxruntime.__version__,
        "torch": torch.__version__,
    }


if __name__ == "__main__":
    typer.run(main)
