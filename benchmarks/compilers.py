"""Which graphs a real TensorRT compiles: every network, in every precision, for every GPU of TensorRT for RTX.

usage: python -m benchmarks.compilers [NETWORK ...] [--precisions fp32,fp16,...] [-o FILE]

Needs no GPU. Rows are appended as they come; what a file holds already is left out. Weights are untrained and INT8 is
calibrated on two faces: that decides which convolutions are quantised, not whether a graph is compiled.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from fsr_deploy._util.console import command
from fsr_deploy.bundle.info import MIXED_FP8, ONNX_NAME, PRECISIONS, QUANTISED, read_bundle
from fsr_deploy.errors import FsrError
from fsr_deploy.exporting.graph.turing import write_for_turing
from fsr_deploy.exporting.graph.write import write_graph
from fsr_deploy.exporting.options import ExportOptions, Int8Options
from fsr_deploy.exporting.pipeline import run_export
from fsr_deploy.exporting.tensorrt import child
from fsr_deploy.exporting.tensorrt.child import Request
from fsr_deploy.exporting.tensorrt.config import PlanOptions
from fsr_deploy.exporting.tensorrt.gpus import TURING, gpus_for
from fsr_deploy.models import registry
from fsr_deploy.models.source import load_source

BATCHES = (1, 4, 8)
TURING_HAS_NOT = ("bf16", MIXED_FP8)


@dataclass(frozen=True)
class Row:
    """What became of one graph: for which GPUs it was compiled, or the compiler's words."""

    network: str
    precision: str
    gpus: tuple[str, ...]
    compiled: bool
    reason: str = ""
    mib: float = 0.0
    seconds: float = 0.0
    kernels: int = 0
    activation_mib: float = 0.0


def compile_all(network: str, precision: str, folder: Path) -> Iterator[Row]:
    """Write one network's graph in one precision and compile it: for all GPUs together, and for Turing in its form."""
    graph, kept = write(network, precision, folder)
    yield compile_for(network, precision, graph, kept, ())
    if precision not in TURING_HAS_NOT:
        write_for_turing(graph)
        yield compile_for(network, precision, graph, kept, (TURING,))


def write(network: str, precision: str, folder: Path) -> tuple[Path, dict[str, dict[str, str]]]:
    """Return the graph for TensorRT, and which of its modules differ in precision."""
    options = ExportOptions(network, precision=precision, target="tensorrt", batches=BATCHES, with_plan=False)
    if precision not in QUANTISED:
        return folder / ONNX_NAME, write_graph(options, load_source(network), "tensorrt", folder / ONNX_NAME)
    bundle = run_export(
        ExportOptions(
            network,
            precision=precision,
            target="tensorrt",
            batches=(1, 1, 1),
            with_plan=False,
            repair=False,
            force=True,
            int8=Int8Options(images=2),
            output=folder / "bundle",
        )
    )
    shutil.copyfile(bundle.path / ONNX_NAME, folder / ONNX_NAME)  # out of the bundle, where it could not be changed
    return folder / ONNX_NAME, read_bundle(bundle.path).info.precision_map


def compile_for(
    network: str, precision: str, graph: Path, kept: dict[str, dict[str, str]], gpus: tuple[str, ...]
) -> Row:
    """Compile one graph; the plan is not kept."""
    plan, named = graph.with_suffix(".plan"), gpus or gpus_for(precision)
    options = PlanOptions(flavour="rtx", gpus=gpus)
    try:
        answer = child.build(Request(graph, plan, precision, BATCHES, options, kept))
    except FsrError as error:
        return Row(network, precision, named, compiled=False, reason=str(error))
    size = plan.stat().st_size
    plan.unlink()
    assert answer.kernels is not None
    memory = answer.kernels.activation_bytes / 2**20
    return Row(
        network,
        precision,
        named,
        compiled=True,
        mib=round(size / 2**20, 1),
        seconds=round(answer.seconds, 1),
        kernels=answer.kernels.count,
        activation_mib=round(memory, 1),
    )


@command
def main(
    networks: Annotated[list[str] | None, typer.Argument(help="Registered networks.", show_default="all")] = None,
    precisions: Annotated[str, typer.Option(help="Precisions, with commas.")] = ",".join(PRECISIONS),
    output: Annotated[Path, typer.Option("-o", help="File of rows, a line of JSON each.")] = Path("compilers.jsonl"),
) -> None:
    """Compile the graphs of networks and append what became of each to a file."""
    rows: list[dict[str, Any]] = []
    if output.exists():
        rows = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    done = {(row["network"], row["precision"]) for row in rows}
    for network in networks or registry.names():
        for precision in precisions.split(","):
            if (network, precision) in done:
                continue
            folder = Path(tempfile.mkdtemp())
            found = list(compile_all(network, precision, folder))
            shutil.rmtree(folder)
            with output.open("a", encoding="utf-8") as stream:
                stream.writelines(json.dumps(asdict(row)) + "\n" for row in found)
            for row in found:
                what = f"{row.mib} MiB, {row.kernels} kernels" if row.compiled else row.reason
                print(f"{network} {precision} for {', '.join(row.gpus)}: {what}", file=sys.stderr)


if __name__ == "__main__":
    main()
