"""Which graphs a real TensorRT compiles: every network, in every precision, for every GPU of TensorRT for RTX.

usage: python -m benchmarks.compilers [NETWORK ...] [--precisions fp32,fp16,...] [-o FILE] [--table]

Needs no GPU. Rows are appended as they come; what a file holds already is left out. Weights are untrained and INT8 is
calibrated on two faces: that decides which convolutions are quantised, not whether a graph is compiled.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import onnx
import typer

from benchmarks.rows import append_row, read_rows
from fsr_deploy._util.console import command
from fsr_deploy.bundle.info import MIXED_FP8, MIXES, ONNX_NAME, QUANTISED
from fsr_deploy.errors import FsrError
from fsr_deploy.exporting.build import run_eager
from fsr_deploy.exporting.graph.turing import write_for_turing
from fsr_deploy.exporting.graph.write import write_graph
from fsr_deploy.exporting.int8.formats import format_of
from fsr_deploy.exporting.int8.mixed import typed_scheme
from fsr_deploy.exporting.int8.quantise import name_precision, prepare
from fsr_deploy.exporting.int8.scheme import Scheme
from fsr_deploy.exporting.options import ExportOptions, Int8Options, fp16_part, in_precision
from fsr_deploy.exporting.precision.cast import PrecisionMap
from fsr_deploy.exporting.proof.reference import lr_faces
from fsr_deploy.exporting.tensorrt import child
from fsr_deploy.exporting.tensorrt.child import BuildRequest
from fsr_deploy.exporting.tensorrt.config import PlanOptions
from fsr_deploy.exporting.tensorrt.gpus import TURING, gpus_for
from fsr_deploy.models import registry
from fsr_deploy.models.source import load_source

BATCHES = (1, 4, 8)
FACES = 2  # that INT8 and FP8 are calibrated on
OF_TENSORRT = ("fp32", "fp16", "bf16", "int8", *MIXES)
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


def compile_all(network: str, precisions: Collection[str], folder: Path) -> Iterator[list[Row]]:
    """Write one network's graph in each precision and compile it: for all GPUs together, and for Turing in its form."""
    writer = Writer(network, folder)
    for precision in precisions:
        graph, kept = writer.write(precision)
        rows = [compile_for(network, precision, graph, kept, ())]
        if precision not in TURING_HAS_NOT:
            write_for_turing(graph)
            rows.append(compile_for(network, precision, graph, kept, (TURING,)))
        yield rows


class Writer:
    """The graphs of one network for TensorRT, without their proof: what is traced once serves several precisions.

    In 8 bits every block is, as it is before anything has to be repaired.
    """

    def __init__(self, network: str, folder: Path) -> None:
        self._options = ExportOptions(network, target="tensorrt", batches=BATCHES, with_plan=False)
        self._source = load_source(network)
        self._folder = folder
        self._kept: dict[str, PrecisionMap] = {}

    def write(self, precision: str) -> tuple[Path, PrecisionMap]:
        """Return the graph in a precision, and which of its modules differ from it."""
        options = in_precision(self._options, precision)
        if precision not in QUANTISED:
            path, kept = self._traced(options)
            copy = path.with_name("copy.onnx")  # Turing's form is written over it
            shutil.copyfile(path, copy)
            return copy, kept
        full, _ = self._traced(in_precision(options, "fp32"))
        options = replace(options, int8=Int8Options(images=FACES))
        reference = run_eager(options, self._source, lr_faces(None, 1, self._source.lr_size, self._source.scale))
        scheme: Scheme = prepare(full, self._source, reference, options, target="tensorrt").scheme
        kept = {}
        if precision in MIXES:
            half, kept = self._traced(fp16_part(options))
            scheme = typed_scheme(scheme, onnx.load(half), format_of(precision))
        model = scheme.write(scheme.blocks)
        name_precision(model, precision)
        path = self._folder / f"{precision}.onnx"
        onnx.save(model, path)
        return path, kept

    def _traced(self, options: ExportOptions) -> tuple[Path, PrecisionMap]:
        key = f"{options.precision}-{options.opset}"
        path = self._folder / key / ONNX_NAME
        if key not in self._kept:
            path.parent.mkdir()
            self._kept[key] = write_graph(options, self._source, "tensorrt", path)
        return path, self._kept[key]


def compile_for(network: str, precision: str, graph: Path, kept: PrecisionMap, gpus: tuple[str, ...]) -> Row:
    """Compile one graph; the plan is not kept."""
    plan, named = graph.with_suffix(".plan"), gpus or gpus_for(precision)
    options = PlanOptions(flavour="rtx", gpus=gpus)
    try:
        answer = child.build(BuildRequest(graph, plan, precision, BATCHES, options, kept))
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


def as_table(rows: Collection[dict[str, Any]]) -> str:
    """Return the sizes of the plans in MiB as a Markdown table, with Turing's in a line of their own."""
    cells = {
        (row["network"], row["gpus"] == [TURING], row["precision"]): f"{row['mib']}" if row["compiled"] else "refused"
        for row in rows
    }
    lines = [f"| network | {' | '.join(precision.upper() for precision in OF_TENSORRT)} |", "| --- " * 7 + "|"]
    for network in registry.names():
        for turing in (False, True):
            sizes = [
                "-" if turing and precision in TURING_HAS_NOT else cells.get((network, turing, precision), "")
                for precision in OF_TENSORRT
            ]
            if any(size not in ("", "-") for size in sizes):
                lines.append(f"| {network}{', Turing' if turing else ''} | {' | '.join(sizes)} |")
    return "\n".join(lines)


@command
def main(
    networks: Annotated[list[str] | None, typer.Argument(help="Registered networks.", show_default="all")] = None,
    precisions: Annotated[str, typer.Option(help="Precisions, with commas.")] = ",".join(OF_TENSORRT),
    output: Annotated[Path, typer.Option("-o", help="File of rows, a line of JSON each.")] = Path("compilers.jsonl"),
    table: Annotated[bool, typer.Option("--table", help="Print the file's rows as a table, compile nothing.")] = False,
) -> None:
    """Compile the graphs of networks and append what became of each to a file."""
    if table:
        print(as_table(read_rows(output)))
        return
    done = {(row["network"], row["precision"]) for row in read_rows(output)}
    for network in networks or registry.names():
        missing = [precision for precision in precisions.split(",") if (network, precision) not in done]
        with tempfile.TemporaryDirectory() as folder:
            for found in compile_all(network, missing, Path(folder)) if missing else ():
                for row in found:
                    append_row(output, asdict(row))
                    what = f"{row.mib} MiB, {row.kernels} kernels" if row.compiled else row.reason
                    print(f"{network} {row.precision} for {', '.join(row.gpus)}: {what}", file=sys.stderr)


if __name__ == "__main__":
    main()
