"""The options of fsr-export, but for those of a plan."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fsr_deploy.bundle.info import MAX_LR_SIZE, MIN_LR_SIZE

Model = Annotated[
    str | None,
    typer.Argument(metavar="MODEL|CHECKPOINT", help="A registered name, or a file that names its model."),
]
Checkpoint = Annotated[Path | None, typer.Option(help="The model's weights: .safetensors, .pth, .pt, .ckpt, .bin.")]
Key = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="The checkpoint's entry to take.", show_default="the average, if any"),
]
Fp16 = Annotated[bool, typer.Option("--fp16", help="Compute in FP16 where that is harmless.")]
Bf16 = Annotated[bool, typer.Option("--bf16", help="Compute in BF16 where that is harmless.")]
Int8 = Annotated[
    bool,
    typer.Option(
        "--int8", help="Convolutions in INT8 where that is harmless and faster; with --fp16 the rest in FP16."
    ),
]
Calib = Annotated[Path | None, typer.Option(help="Folder of faces to calibrate INT8 on.", show_default="drawn ones")]
Calibrator = Annotated[str, typer.Option(help="Range of INT8: max, percentile or entropy.")]
CalibImages = Annotated[int, typer.Option(help="How many faces to calibrate on.")]
Repair = Annotated[
    bool, typer.Option("--repair/--no-repair", help="Over budget: the fewest modules back to float, or exit 5.")
]
Analyze = Annotated[bool, typer.Option("--analyze", help="Rank the modules by what the precision does to each alone.")]
Faces = Annotated[Path | None, typer.Option(help="Folder of faces to prove with.", show_default="drawn ones")]
LrSize = Annotated[
    int | None,
    typer.Option(
        help=f"Side of the LR faces in pixels, {MIN_LR_SIZE} to {MAX_LR_SIZE}.",
        show_default="the network's, or 16",
    ),
]
Batch = Annotated[str, typer.Option(metavar="MIN,OPT,MAX", help="Batch sizes; one number fixes it.")]
Target = Annotated[
    str, typer.Option(help="What the graph is written for: onnxruntime, tensorrt; auto: for this machine.")
]
WithPlan = Annotated[
    bool | None,
    typer.Option(
        "--plan/--no-plan",
        help="Build the plan of a graph for TensorRT here; --plan: or exit 3.",
        show_default="where this machine can",
    ),
]
Io = Annotated[str, typer.Option(help="uint8: faces in and out; float: the bare network.")]
Opset = Annotated[
    int | None,
    typer.Option(help="ONNX opset; TensorRT 8.6 reads 17.", show_default="17, --int8 --fp16 19, bf16 22"),
]
BudgetDb = Annotated[
    float | None, typer.Option(help="Least PSNR against eager in dB.", show_default="fp16 50, bf16 and int8 40")
]
BudgetLevels = Annotated[float | None, typer.Option(help="Largest error in 8-bit levels.", show_default="fp32 1")]
BudgetLoss = Annotated[
    float | None,
    typer.Option(help="Most PSNR in dB lost against the truth, where it is known.", show_default="int8 0.1"),
]
Force = Annotated[bool, typer.Option("--force", help="Publish an engine over its budget, marked as such.")]
Output = Annotated[
    Path | None, typer.Option("-o", "--output", help="The bundle's directory.", show_default="MODEL-PRECISION")
]
ListModels = Annotated[bool, typer.Option("--list", help="List the registered models and stop.")]
Json = Annotated[bool, typer.Option("--json", help="Print a summary to stdout.")]
