"""Every registered network at its full size through the installed fsr-export, in FP32 and FP16.

    python -m benchmarks.networks
    taskset -c 0 python -m benchmarks.networks mfspnet 'sparnet*' --precisions fp16

Each export is proven and timed by the command itself. A row is written as soon as its export ends, in place of an
earlier one of the same network and precision, so that the run may be stopped and continued; a network that fails is a
row that says why. MFSPNet and SPARNet are exported with ``padding=zeros`` too, and the demonstration network with its
trained weights; all other weights are untrained. MFSPNet and SPARNet add nothing to their input and make a flat grey of
it when untrained, which any engine gets right; their last convolution is scaled until SR faces spread as faces do. On a
machine that others use too, one core is the fairer judge of a speed-up: PyTorch's threads wait for each other.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import onnx
import torch
import typer

from benchmarks.rewrites import machine
from fsr_deploy._util.files import write_file
from fsr_deploy.bundle.info import ONNX_NAME, read_bundle
from fsr_deploy.errors import ExitCode
from fsr_deploy.exporting.proof.reference import lr_faces
from fsr_deploy.models import registry
from fsr_deploy.models.checkpoints import Metadata, save_safetensors
from fsr_deploy.models.eager import network_input
from fsr_deploy.models.mfspnet import MFSPNet

RESULT = Path(__file__).parent / "results" / "networks.json"
WEIGHTS = Path(__file__).parents[1] / "weights" / "aminet-tiny-faces.safetensors"
ZEROS, TRAINED = " padding=zeros", " trained"
VARIANTS = {"mfspnet": ZEROS, "sparnet": ZEROS, "aminet-tiny": TRAINED}
MAX_PADS = 10
FACES, LR_SIZE, SCALE = 4, 16, 8


def main(
    patterns: Annotated[list[str] | None, typer.Argument(help="networks, as shell patterns; all by default")] = None,
    precisions: Annotated[str, typer.Option(help="fp32, fp16 or both")] = "fp32,fp16",
    batch: Annotated[str, typer.Option(help="batch sizes: smallest, usual, largest")] = "1,2,4",
    output: Annotated[Path, typer.Option("--output", "-o", help="the JSON file to write")] = RESULT,
) -> None:
    """Export every registered network."""
    rows = written(output)
    for name in chosen(patterns or ["*"]):
        for precision in precisions.split(","):
            with tempfile.TemporaryDirectory() as folder:
                row = export(name, precision, batch, Path(folder))
            rows = sorted([*(other for other in written(output) if key(other) != key(row)), row], key=key)
            write_file(output, (json.dumps({"rows": rows}, indent=2) + "\n").encode())
            print(json.dumps(row), flush=True)
    print(markdown(rows))
    if padded := [row["model"] for row in rows if row["model"].endswith(ZEROS) and row.get("pads", 0) > MAX_PADS]:
        sys.exit(f"more than {MAX_PADS} Pad nodes: {', '.join(padded)}")
    if failed := [" ".join(key(row)) for row in rows if row["exit_code"]]:
        sys.exit(f"did not export: {', '.join(failed)}")


def chosen(patterns: list[str]) -> list[str]:
    """Return the names to export, in the order asked for, each with its variant."""
    names = dict.fromkeys(name for pattern in patterns for name in registry.names(pattern))
    return [variant for name in names for variant in dict.fromkeys((name, name + VARIANTS.get(name, "")))]


def written(path: Path) -> list[dict[str, Any]]:
    """Return the rows that a file holds already."""
    rows: list[dict[str, Any]] = json.loads(path.read_text())["rows"] if path.exists() else []
    return rows


def key(row: dict[str, Any]) -> tuple[str, str]:
    return row["model"], row["precision"]


def export(name: str, precision: str, batch: str, folder: Path) -> dict[str, Any]:
    """Return the row of one export; over its budget it is exported again by force, to see by how much."""
    arguments = [source(name, folder), *([] if precision == "fp32" else [f"--{precision}"]), "--batch", batch]
    start = time.monotonic()
    done = call(arguments, folder / "bundle")
    row = {
        "model": name,
        "precision": precision,
        "exit_code": done.returncode,
        "batches": batch,
        **machine("onnxruntime"),
    }
    row |= {
        "trained": name.endswith(TRAINED),
        "cores": len(os.sched_getaffinity(0)),
        "seconds": round(time.monotonic() - start, 1),
    }
    if done.returncode:
        row["error"] = done.stderr.strip().splitlines()[-4:]
    if done.returncode == ExitCode.PARITY:
        call([*arguments, "--force"], folder / "bundle")
    return {**row, **(facts(folder / "bundle") if (folder / "bundle").exists() else {})}


def source(name: str, folder: Path) -> str:
    """Return what to export: a name, a trained checkpoint, or one of fresh weights that make more than a flat grey."""
    if name.endswith(TRAINED):
        return str(WEIGHTS)
    model, path = name.removesuffix(ZEROS), folder / "fresh.safetensors"
    options = {"padding": "zeros"} if name.endswith(ZEROS) else {}
    torch.manual_seed(0)
    network = registry.build(model, **options).eval()
    if not isinstance(network, MFSPNet):
        return model
    spread(network)
    save_safetensors(network.state_dict(), path, Metadata(model, options))
    return str(path)


def spread(network: MFSPNet) -> None:
    """Scale the last convolution until drawn SR faces deviate from their mean as the faces themselves do.

    Batch norms with the statistics of faces would spread them too, but untrained networks then multiply noise by 10 to
    80, a trained one (AMINet's) by 1.1: rounding their input to FP16, and nothing else, leaves 50 to 70 dB. Scaled as
    here, they multiply noise by 1.0 to 1.6.
    """
    x = network_input(lr_faces(None, FACES, LR_SIZE, SCALE), SCALE)
    with torch.no_grad():
        sr = network(x)
        grey = sr.mean((0, 2, 3))
        gain = x.std() / (sr - grey.view(1, 3, 1, 1)).std()
        network.tail.weight *= gain
        network.tail.bias.copy_((network.tail.bias - grey) * gain)


def call(arguments: list[str], bundle: Path) -> subprocess.CompletedProcess[str]:
    words = [str(Path(sys.executable).with_name("fsr-export")), *arguments, "-o", str(bundle)]
    return subprocess.run(words, capture_output=True, text=True, env={**os.environ, "COLUMNS": "200"}, check=False)


def facts(directory: Path) -> dict[str, Any]:
    """Return what a bundle says of itself, and what its graph is made of."""
    info = read_bundle(directory).info
    graph = onnx.load(directory / ONNX_NAME).graph
    dims = [value.type.tensor_type.shape.dim[0] for value in (*graph.input, *graph.output)]
    parity: dict[str, dict[str, Any]] = {}
    for name in dict.fromkeys(row["engine"] for row in info.parity):
        mine = [row for row in info.parity if row["engine"] == name]
        parity["rounded" if "rounded to" in name else "as_it_runs"] = {
            "engine": name,
            "max_error": max(row["max_error"] for row in mine),
            "psnr_db": min((row["psnr_db"] for row in mine if row["psnr_db"] is not None), default=None),
            "finite": all(row["finite"] for row in mine),
        }
    return {
        "parity": parity,
        "parity_passed": info.parity_passed,
        "graph_target": info.graph_target,
        "kept_in_fp32": sorted(info.precision_map),
        "nodes": len(graph.node),
        "pads": sum(node.op_type == "Pad" for node in graph.node),
        "batch_is_symbolic": all(bool(dim.dim_param) for dim in dims),
        "latency": info.latency.get("rows", []),
        "versions": {name: found for name, found in info.versions.items() if re.match("onnx|torch|fsr", name)},
    }


def markdown(rows: list[dict[str, Any]]) -> str:
    """Return a Markdown table: FP32's worst face in levels, FP16's in dB, and the speed-ups on this CPU."""
    lines = [
        "| network | FP32, levels off | FP16 on the CPU (dB) | FP16 rounded (dB) | FP32 against eager | nodes | Pad |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name in dict.fromkeys(row["model"] for row in rows):
        full, half = (next((row for row in rows if key(row) == (name, p)), {}) for p in ("fp32", "fp16"))
        cells = [
            f"`{name}`",
            levels(full),
            decibels(half, "as_it_runs"),
            decibels(half, "rounded"),
            speed(full),
            str(full.get("nodes", "")),
            str(full.get("pads", "")),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def levels(row: dict[str, Any]) -> str:
    return f"{max(p['max_error'] for p in row['parity'].values()):.0f}" if "parity" in row else fault(row)


def decibels(row: dict[str, Any], how: str) -> str:
    if how not in row.get("parity", {}):
        return fault(row)
    parity = row["parity"][how]
    if not parity["finite"]:
        return "NaN or Inf"
    return "equal" if parity["psnr_db"] is None else f"{parity['psnr_db']:.1f}"


def speed(row: dict[str, Any]) -> str:
    """Return the speed-up at the smallest batch and the turns' extremes."""
    if not row.get("latency"):
        return fault(row)
    first = row["latency"][0]
    return f"{first['speedup']:.2f}x ({first['slowest']:.2f} to {first['fastest']:.2f})"


def fault(row: dict[str, Any]) -> str:
    return f"exit {row['exit_code']}" if row.get("exit_code") else ""


if __name__ == "__main__":
    typer.run(main)
