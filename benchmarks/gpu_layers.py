"""Why not faster? The time of each layer of a plan, and of the network's modules that they belong to.

    python -m benchmarks.gpu_layers bundles/aminet-fp16 --batch 64

Layers are timed one after the other by TensorRT's profiler; their sum is more than a batch takes, so shares are what
to look at. A second row holds TensorRT's own description of every layer (tactic, formats, precision).
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.gpu_common import Device, GoOn, Output, begin, end, faces
from benchmarks.rows import show
from fsr_deploy.bundle.engine_file import read_engine_file
from fsr_deploy.bundle.info import PLAN_NAME
from fsr_deploy.bundle.layers import module_of_kernel
from fsr_deploy.runtime.tensorrt.session import TensorRTSession

RUNS = 10
SHOWN = 25


def main(
    bundle: Annotated[Path, typer.Argument(help="a bundle with a plan")],
    batch: Annotated[int, typer.Option(help="batch size")] = 64,
    depth: Annotated[int, typer.Option(help="how many parts of a module's path to tell apart")] = 3,
    device: Device = 0,
    output: Output = None,
    go_on: GoOn = False,
) -> None:
    """Say where a plan's time goes."""
    rows = begin("layers", output, device, go_on=go_on)
    key = {"bundle": bundle.name, "batch": batch}
    with rows.attempt(**key, what="loading"):
        session = TensorRTSession(read_engine_file(bundle / PLAN_NAME), f"cuda:{device}")
        try:
            rows.measure({**key, "what": "times"}, lambda: times(session, batch, depth))
            rows.measure({**key, "what": "description"}, lambda: {"layers": session.inspect()})
        finally:
            session.close()
    end(rows)


def times(session: TensorRTSession, batch: int, depth: int) -> dict[str, Any]:
    """Return the modules' times, which are printed too, and those of the layers."""
    layers = time_layers(session, batch)
    modules = by_module(layers, depth)
    for module in modules[:SHOWN]:
        show(module)
    return {"modules": modules, "layers": [{"layer": name, "ms": ms} for name, ms in layers]}


def time_layers(session: TensorRTSession, batch: int) -> list[tuple[str, float]]:
    """Return (layer, milliseconds), the median of some runs, in the order of execution."""
    content = faces(batch, session.info.lr_shape)
    runs = [session.layer_times(content) for _ in range(RUNS)]
    names = [name for name, _ in runs[0]]
    return [(name, 1e3 * statistics.median(run[index][1] for run in runs)) for index, name in enumerate(names)]


def by_module(layers: list[tuple[str, float]], depth: int) -> list[dict[str, Any]]:
    """Return the modules' times and shares, longest first; a fused layer counts for what holds all its nodes."""
    total: dict[str, float] = defaultdict(float)
    for name, ms in layers:
        path = module_of_kernel(name)
        shortened = "(TensorRT's own)" if path is None else ".".join(path.split(".")[:depth])
        total[shortened or "(top level)"] += ms
    whole = sum(total.values())
    ordered = sorted(total.items(), key=lambda item: -item[1])
    return [{"module": module, "ms": ms, "share": ms / whole} for module, ms in ordered]


if __name__ == "__main__":
    typer.run(main)
