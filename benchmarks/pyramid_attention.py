"""Time both forms of pyramid attention side by side in ONNX Runtime on this machine's CPU.

    python benchmarks/pyramid_attention.py

One module (128 channels, a 16x16 grid, random weights) is exported in each form. The two take turns within each round,
so that both see the same load of the machine.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median, quantiles
from typing import Annotated, Any

import numpy as np
import onnxruntime
import torch
import typer

from fsr_deploy._util.cores import usable_cores
from fsr_deploy.models.complexity import count
from fsr_deploy.models.pyramid_attention import FORMS, PA, Form

CHANNELS, GRID = 128, 16
RESULT = Path(__file__).parent / "results" / "pyramid_attention.json"


def main(
    batches: Annotated[list[int], typer.Option(help="batch sizes")] = [1, 8],  # noqa: B006 - typer reads it
    threads: Annotated[list[int], typer.Option(help="numbers of threads")] = [1],  # noqa: B006
    rounds: Annotated[int, typer.Option(help="rounds for each batch size and number of threads")] = 100,
    output: Annotated[Path, typer.Option("--output", "-o", help="the JSON file to write")] = RESULT,
) -> None:
    """Time both forms of pyramid attention in ONNX Runtime."""
    torch.manual_seed(0)
    module = PA(CHANNELS, GRID).eval()
    graphs: dict[Form, bytes] = {form: export(module, form) for form in FORMS}
    rows = []
    for count_of_threads in threads:
        engines = {form: engine(graph, count_of_threads) for form, graph in graphs.items()}
        for batch in batches:
            x = np.random.default_rng(0).standard_normal((batch, CHANNELS, GRID, GRID)).astype(np.float32)
            row = {"threads": count_of_threads, "batch": batch, **compare(engines, x, rounds)}
            print(row, flush=True)
            rows.append(row)
    output.write_text(json.dumps({**machine(), "products": products(module), "rows": rows}, indent=2) + "\n")


def export(module: PA, form: Form) -> bytes:
    module.form = form
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(
            module,
            (torch.zeros(2, CHANNELS, GRID, GRID),),
            dynamo=True,
            opset_version=18,
            dynamic_shapes=({0: torch.export.Dim("N")},),
            verbose=False,
        )
    assert program is not None
    return program.model_proto.SerializeToString()


def engine(graph: bytes, threads: int) -> Callable[[np.ndarray], Any]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda x: session.run(None, {name: x})[0]


def compare(engines: dict[Form, Callable[[np.ndarray], Any]], x: np.ndarray, rounds: int) -> dict[str, Any]:
    """Return milliseconds per run, the median ratio within a round, and how far the forms' results are apart."""
    results = {form: run(x) for form, run in engines.items()}
    milliseconds: dict[Form, list[float]] = {form: [] for form in engines}
    for _ in range(rounds):
        for form, run in engines.items():
            start = time.perf_counter()
            run(x)
            milliseconds[form].append(1e3 * (time.perf_counter() - start))
    row: dict[str, Any] = {"rounds": rounds}
    for form, values in milliseconds.items():
        tenths = quantiles(values, n=10)
        row[form] = {"p10_ms": round(tenths[0], 3), "p50_ms": round(median(values), 3), "p90_ms": round(tenths[-1], 3)}
    ratios = [patch / shift for patch, shift in zip(milliseconds["patch"], milliseconds["shift"], strict=True)]
    row["patch_over_shift"] = round(median(ratios), 2)
    row["max_difference"] = float(np.abs(results["patch"] - results["shift"]).max())
    return row


def products(module: PA) -> dict[Form, int]:
    """Return the multiply-accumulates of one face in each form."""
    counted: dict[Form, int] = {}
    for form in FORMS:
        module.form = form
        counted[form] = count(module, (CHANNELS, GRID, GRID)).products
    return counted


def machine() -> dict[str, Any]:
    cpuinfo = Path("/proc/cpuinfo")
    names = [line for line in cpuinfo.read_text().splitlines() if "model name" in line] if cpuinfo.exists() else []
    cpu = names[0].split(": ")[1] if names else platform.processor()
    load = round(os.getloadavg()[0], 1)
    return {
        "cpu": cpu,
        "cores": usable_cores(),
        "load_average": load,
        "onnxruntime": onnxruntime.__version__,
        "torch": torch.__version__,
    }


if __name__ == "__main__":
    typer.run(main)
