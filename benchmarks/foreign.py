"""Other people's networks through the same export: checkpoints with random weights, written, recognised and proven.

usage: python -m benchmarks.foreign [NAME ...] [-o FILE] [--table]

Needs the extra "models" and spandrel_extra_arches in an environment of its own, see docs/foreign.md. Networks are small
variants of their architectures where one can be chosen, so that a row takes a minute; the face restorers are whole.
Rows are appended as they come; what a file holds already is left out.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.foreign_networks import NETWORKS, write_checkpoint
from benchmarks.rows import append_row, read_rows
from fsr_deploy._util.console import command
from fsr_deploy.errors import FsrError
from fsr_deploy.exporting.export import run_export
from fsr_deploy.exporting.options import ExportOptions
from fsr_deploy.exporting.proof.parity import budget_for
from fsr_deploy.exporting.tensorrt.compile_check import check_compiler
from fsr_deploy.exporting.tensorrt.config import PlanOptions

# What becomes of each network: its precision, and the engine that the graph is written for.
ENGINES = (("fp32", "onnxruntime"), ("fp16", "tensorrt"), ("fp32", "openvino"))


def export(name: str, precision: str, target: str, folder: Path) -> dict[str, Any]:
    """Export a checkpoint for an engine and return what became of it."""
    network = NETWORKS[name]
    start = time.perf_counter()
    bundle = run_export(
        ExportOptions(
            str(write_checkpoint(name, folder)),
            precision=precision,
            lr_size=network.side,
            batches=network.batches,
            target=target,
            with_plan=False,
            budget=budget_for(precision),
            output=folder / target,
        )
    )
    info = bundle.info
    worst = min(row["psnr_db"] or 99.0 for row in info.parity)
    row: dict[str, Any] = {
        "network": name,
        "precision": precision,
        "target": target,
        "lr": network.side,
        "scale": info.scale,
        "worst_db": worst,
        "levels": max(row["max_error"] for row in info.parity),
        "fp32": {at: one["reason"] for at, one in info.precision_map.items() if one["precision"] == "fp32"},
        "times_as_fast_as_eager": info.latency["rows"][0]["speedup"] if info.latency.get("rows") else None,
        "seconds": round(time.perf_counter() - start, 1),
    }
    if target == "tensorrt":
        kernels = check_compiler(bundle.path, info, PlanOptions(flavour="rtx"))
        row["rtx_kernels"] = kernels["count"] if kernels else None
    return row


def as_table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the rows as a Markdown table, a line for each network."""
    heads = ["network", "input", "FP32", "against eager", "OpenVINO", "against eager", "FP16", "stays in FP32"]
    lines = [f"| {' | '.join(heads)} | TensorRT for RTX |", "| --- " * (len(heads) + 1) + "|"]
    found = {(row["network"], row["target"]): row for row in rows}
    for name in NETWORKS:
        full, half, vino = (found.get((name, target)) for target in ("onnxruntime", "tensorrt", "openvino"))
        if full is None or "error" in full:
            continue
        side = NETWORKS[name].side
        cells = [name, f"{side}x{side}, {full['scale']}x" if "scale" in full else f"{side}x{side}"]
        cells += _timed(full) + _timed(vino)
        if half is None or "error" in half:
            cells += [half["error"] if half else "", "", ""]
        else:
            cells += [
                _db(half),
                f"{len(half['fp32'])} module{'s' if len(half['fp32']) != 1 else ''}",
                f"{half['rtx_kernels']} kernels",
            ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _timed(row: dict[str, Any] | None) -> list[str]:
    if row is None or "error" in row:
        return [row["error"] if row else "", ""]
    return [_db(row), f"{row['times_as_fast_as_eager']:.2f}x"]


def _db(row: dict[str, Any]) -> str:
    levels = f"{row['levels']:.0f} level{'s' if row['levels'] != 1 else ''}"
    return "equal" if row["levels"] == 0 else f"{row['worst_db']:.1f} dB, {levels}"


@command
def main(
    names: Annotated[list[str] | None, typer.Argument(help="Networks.", show_default="all")] = None,
    output: Annotated[Path, typer.Option("-o", help="File of rows, a line of JSON each.")] = Path("foreign.jsonl"),
    table: Annotated[bool, typer.Option("--table", help="Print the file's rows as a table, export nothing.")] = False,
) -> None:
    """Export other people's networks and append what became of each to a file."""
    if table:
        print(as_table(read_rows(output)))
        return
    done = {(row["network"], row["target"]) for row in read_rows(output)}
    for name in names or NETWORKS:
        for precision, target in ENGINES:
            if (name, target) in done:
                continue
            with tempfile.TemporaryDirectory() as folder:
                try:
                    row = export(name, precision, target, Path(folder))
                except FsrError as error:
                    reason = str(error).replace(f"{folder}/", "")
                    row = {"network": name, "precision": precision, "target": target, "error": reason}
            append_row(output, row)
            print(row, file=sys.stderr)


if __name__ == "__main__":
    main()
