"""The options of fsr-export; those about a plan are in plan_options.py."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from fsr_deploy.bundle.info import MAX_LR_SIZE, MIN_LR_SIZE
from fsr_deploy.cli.fastest_options import FastestArguments
from fsr_deploy.cli.plan_options import PlanArguments
from fsr_deploy.cli.provenance_options import ProvenanceArguments
from fsr_deploy.cli.triton_options import TritonArguments


@dataclass(frozen=True)
class ExportArguments:
    """What to export, how its graph is written and what it is proven with."""

    model: Annotated[
        str | None,
        typer.Argument(metavar="MODEL", help="A registered name, a checkpoint that names its model, or FILE.py:NAME."),
    ] = None
    checkpoint: Annotated[
        Path | None, typer.Option(help="The model's weights: .safetensors, .pth, .pt, .ckpt, .bin.")
    ] = None
    key: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The checkpoint's entry to take.", show_default="the average, if any"),
    ] = None
    fp16: Annotated[bool, typer.Option("--fp16", help="Compute in FP16 where that is harmless.")] = False
    bf16: Annotated[bool, typer.Option("--bf16", help="Compute in BF16 where that is harmless.")] = False
    int8: Annotated[
        bool,
        typer.Option(
            "--int8", help="Convolutions in INT8 where that is harmless and faster; with --fp16 the rest in FP16."
        ),
    ] = False
    fp8: Annotated[
        bool,
        typer.Option(
            "--fp8", help="Convolutions in FP8, the rest in FP16, for GPUs from sm_89 on; has run on no GPU yet."
        ),
    ] = False
    calib: Annotated[
        Path | None, typer.Option(help="Folder of faces to calibrate INT8 or FP8 on.", show_default="drawn ones")
    ] = None
    calibrator: Annotated[str, typer.Option(help="Range of 8 bits: max, percentile or, of INT8, entropy.")] = "max"
    calib_images: Annotated[int, typer.Option(help="How many faces to calibrate on.")] = 64
    repair: Annotated[
        bool, typer.Option("--repair/--no-repair", help="Over budget: the fewest modules back to float, or exit 5.")
    ] = True
    analyze: Annotated[
        bool, typer.Option("--analyze", help="Rank the modules by what the precision does to each alone.")
    ] = False
    check_tensorrt: Annotated[
        bool, typer.Option("--check-tensorrt", help="Compile the graph with TensorRT for RTX, and report its kernels.")
    ] = False
    faces: Annotated[Path | None, typer.Option(help="Folder of faces to prove with.", show_default="drawn ones")] = None
    lr_size: Annotated[
        str | None,
        typer.Option(
            metavar="N | H,W",
            help=f"Side of the LR faces in pixels, {MIN_LR_SIZE} to {MAX_LR_SIZE}, or height and width.",
            show_default="the network's, or 16",
        ),
    ] = None
    batch: Annotated[str, typer.Option(metavar="MIN,OPT,MAX", help="Batch sizes; one number fixes it.")] = "1,8,32"
    target: Annotated[
        str,
        typer.Option(help="What the graph is for: onnxruntime, openvino, tensorrt, rtx; auto: for this machine."),
    ] = "auto"
    with_plan: Annotated[
        bool | None,
        typer.Option(
            "--plan/--no-plan",
            help="Build the plan of a graph for TensorRT here; --plan: or exit 3.",
            show_default="where this machine can",
        ),
    ] = None
    io: Annotated[str, typer.Option(help="uint8: faces in and out; float: the bare network.")] = "uint8"
    opset: Annotated[
        int | None,
        typer.Option(help="ONNX opset; TensorRT 8.6 reads 17.", show_default="17, --int8 --fp16 and fp8 19, bf16 22"),
    ] = None
    budget_db: Annotated[
        float | None,
        typer.Option(help="Least PSNR against eager in dB.", show_default="fp16 50, bf16, int8 and fp8 40"),
    ] = None
    budget_levels: Annotated[
        float | None, typer.Option(help="Largest error in 8-bit levels.", show_default="fp32 1")
    ] = None
    budget_loss: Annotated[
        float | None,
        typer.Option(
            help="Most PSNR in dB lost against the truth, where it is known.", show_default="int8 and fp8 0.1"
        ),
    ] = None


@dataclass(frozen=True)
class Arguments(TritonArguments, ProvenanceArguments, PlanArguments, FastestArguments, ExportArguments):
    """What fsr-export takes: what to export, how to build its plan, and what becomes of the result."""

    force: Annotated[bool, typer.Option("--force", help="Publish an engine over its budget, marked as such.")] = False
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The bundle's directory.", show_default="MODEL-PRECISION")
    ] = None
    list_models: Annotated[bool, typer.Option("--list", help="List the registered models and stop.")] = False
    json: Annotated[bool, typer.Option("--json", help="Print a summary to stdout.")] = False
