"""Time each rewrite for a CPU, on and off, side by side in the runtime that it is for.

    python benchmarks/rewrites.py aminet
    python benchmarks/rewrites.py aminet --target openvino

The network (random weights) is exported with the target's rewrites ("all"), with each of its own left out in turn, with
each of another target's added, and with those alone that every target gets ("base"). The graphs take turns within each
round, so that all see the same load of the machine. One thread and its CPU time: what other processes disturb least.
"""

from __future__ import annotations

import json
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Annotated, Any, get_args

import numpy as np
import onnxruntime
import torch
import typer

from fsr_deploy._util.cores import usable_cores
from fsr_deploy.exporting.graph.deployable import Deployable
from fsr_deploy.exporting.graph.onnx_writer import export_onnx
from fsr_deploy.exporting.graph.trace import INPUT
from fsr_deploy.exporting.rewrite.rewrites import EVERYWHERE, REWRITES, Rewrite, Target, rewrite
from fsr_deploy.models import registry
from fsr_deploy.profiling.statistics import PASSES, paired_ratio

LR_SIZE = 16
ALL, BASE = "all", "base"
RESULTS = Path(__file__).parent / "results"
Run = Callable[[np.ndarray], object]


def main(
    model: Annotated[str, typer.Argument(help="a network's name")] = "aminet",
    target: Annotated[str, typer.Option(help="onnxruntime or openvino")] = "onnxruntime",
    rounds: Annotated[int, typer.Option(help="runs of each graph, at least 8")] = 24,
    only: Annotated[str, typer.Option(help="rewrites to look at, with commas; all of them by default")] = "",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="the JSON file to write")] = None,
) -> None:
    """Time each rewrite for a CPU, on and off."""
    torch.manual_seed(0)
    network = registry.build(model).eval()
    (known,) = [name for name in get_args(Target) if name == target]
    with tempfile.TemporaryDirectory() as folder:
        runs = {}
        for name, steps in choices(known):
            if not only or name in (ALL, BASE) or name.partition(" ")[2] in only.split(","):
                runs[name] = OPENED[known](export(network, steps, Path(folder)))
    faces = np.random.default_rng(0).integers(0, 256, (1, LR_SIZE, LR_SIZE, 3), dtype=np.uint8)
    times = take_turns(runs, faces, rounds)
    rows = [row(name, values, times[ALL]) for name, values in times.items()]
    for line in rows:
        print(line)
    suffix = "" if known == "onnxruntime" else f"-{known}"
    path = output or RESULTS / f"rewrites-{model}{suffix}.json"
    path.write_text(json.dumps({"model": model, "rounds": rounds, **machine(known), "rows": rows}, indent=2) + "\n")


def choices(target: Target) -> Iterator[tuple[str, Sequence[Rewrite]]]:
    """Yield names and rewrites: the target's, those for every target, all but one, and all and another's."""
    own = [step for step in REWRITES if target in step.targets]
    yield ALL, own
    yield BASE, [step for step in own if step.targets == EVERYWHERE]
    for one in REWRITES:
        if one in own and one.targets != EVERYWHERE:
            yield f"without {one.name}", [step for step in own if step is not one]
        elif one not in own:
            yield f"with {one.name}", [step for step in REWRITES if step in own or step is one]


def export(network: torch.nn.Module, steps: Sequence[Rewrite], folder: Path) -> Path:
    """Write the graph of a network with these rewrites, whatever their targets are."""
    path = folder / "model.onnx"
    chosen = [replace(step, targets=EVERYWHERE) for step in steps]
    deployable = Deployable(rewrite(network, "onnxruntime", chosen), LR_SIZE).eval()
    export_onnx(deployable, path, lr_size=LR_SIZE, batches=(1, 1, 1), precision="fp32", target="onnxruntime")
    return path


def in_onnxruntime(path: Path) -> Run:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda faces: session.run(None, {INPUT: faces})


def in_openvino(path: Path) -> Run:
    import openvino

    core = openvino.Core()
    model = core.read_model(path)
    model.reshape([1, LR_SIZE, LR_SIZE, 3])
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}
    request = core.compile_model(model, "CPU", settings).create_infer_request()
    return lambda faces: request.infer([faces])


OPENED: dict[str, Callable[[Path], Run]] = {"onnxruntime": in_onnxruntime, "openvino": in_openvino}


def take_turns(runs: dict[str, Run], faces: np.ndarray, rounds: int) -> dict[str, list[float]]:
    """Return the milliseconds of CPU time of each graph's runs."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run(faces)
    rng = np.random.default_rng(0)
    for _ in range(rounds):
        for name in rng.permutation(list(runs)).tolist():
            start = time.process_time()
            runs[name](faces)
            times[name].append(1e3 * (time.process_time() - start))
    return times


def row(name: str, values: Sequence[float], reference: Sequence[float]) -> dict[str, Any]:
    """Return the fastest and the median run, and the ratio to "all", paired by round, with its interval of 95 %."""
    ours, theirs = (np.array_split(side, PASSES) for side in (values, reference))
    times = paired_ratio(ours, theirs)
    return {
        "graph": name,
        "fastest_ms": round(min(values), 2),
        "median_ms": round(median(values), 2),
        "times_all": [round(figure, 3) for figure in (times.value, times.low, times.high)],
    }


def machine(target: str) -> dict[str, Any]:
    cpuinfo = Path("/proc/cpuinfo")
    names = [line for line in cpuinfo.read_text().splitlines() if "model name" in line] if cpuinfo.exists() else []
    return {
        "cpu": names[0].split(": ")[1] if names else platform.processor(),
        "cores": usable_cores(),
        "load_average": round(os.getloadavg()[0], 1),
        target: metadata.version(target),
        "torch": torch.__version__,
    }


if __name__ == "__main__":
    typer.run(main)
