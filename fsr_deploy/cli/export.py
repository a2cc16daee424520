"""fsr-export: write a network as an engine that is proven against the network itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from fsr_deploy._util.console import command, print_json
from fsr_deploy._util.imports import load, one_onnxruntime
from fsr_deploy._util.log import say
from fsr_deploy.bundle.info import MAX_LR_SIZE, MIN_LR_SIZE
from fsr_deploy.errors import UsageError, refuse_unknown

if TYPE_CHECKING:
    from fsr_deploy.bundle.info import Bundle, Io
    from fsr_deploy.exporting.options import ExportOptions
    from fsr_deploy.exporting.tensorrt.config import PlanOptions


@command
def main(
    model: Annotated[
        str | None,
        typer.Argument(metavar="MODEL|CHECKPOINT", help="A registered name, or a file that names its model."),
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="The model's weights: .safetensors, .pth, .pt, .ckpt, .bin.")
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The checkpoint's entry to take.", show_default="the average, if any"),
    ] = None,
    fp16: Annotated[bool, typer.Option("--fp16", help="Compute in FP16 where that is harmless.")] = False,
    bf16: Annotated[bool, typer.Option("--bf16", help="Compute in BF16 where that is harmless.")] = False,
    int8: Annotated[
        bool,
        typer.Option(
            "--int8", help="Convolutions in INT8 where that is harmless and faster; with --fp16 the rest in FP16."
        ),
    ] = False,
    calib: Annotated[
        Path | None, typer.Option(help="Folder of faces to calibrate INT8 on.", show_default="drawn ones")
    ] = None,
    calibrator: Annotated[str, typer.Option(help="Range of INT8: max, percentile or entropy.")] = "max",
    calib_images: Annotated[int, typer.Option(min=1, help="How many faces to calibrate on.")] = 64,
    repair: Annotated[
        bool, typer.Option("--repair/--no-repair", help="Over budget: the fewest modules back to float, or exit 5.")
    ] = True,
    analyze: Annotated[
        bool, typer.Option("--analyze", help="Rank the modules by what the precision does to each alone.")
    ] = False,
    faces: Annotated[
        Path | None, typer.Option(help="Folder of faces to prove with.", show_default="drawn ones")
    ] = None,
    lr_size: Annotated[
        int | None,
        typer.Option(
            min=MIN_LR_SIZE,
            max=MAX_LR_SIZE,
            help="Side of the LR faces in pixels.",
            show_default="the network's, or 16",
        ),
    ] = None,
    batch: Annotated[str, typer.Option(metavar="MIN,OPT,MAX", help="Batch sizes; one number fixes it.")] = "1,8,32",
    target: Annotated[
        str, typer.Option(help="What the graph is written for: onnxruntime, tensorrt; auto: for this machine.")
    ] = "auto",
    with_plan: Annotated[
        bool | None,
        typer.Option(
            "--plan/--no-plan",
            help="Build the plan of a graph for TensorRT here; --plan: or exit 3.",
            show_default="where this machine can",
        ),
    ] = None,
    io: Annotated[str, typer.Option(help="uint8: faces in and out; float: the bare network.")] = "uint8",
    opset: Annotated[
        int | None,
        typer.Option(help="ONNX opset; TensorRT 8.6 reads 17.", show_default="17, --int8 --fp16 19, bf16 22"),
    ] = None,
    budget_db: Annotated[
        float | None, typer.Option(help="Least PSNR against eager in dB.", show_default="fp16 50, bf16 and int8 40")
    ] = None,
    budget_levels: Annotated[
        float | None, typer.Option(help="Largest error in 8-bit levels.", show_default="fp32 1")
    ] = None,
    budget_loss: Annotated[
        float | None,
        typer.Option(help="Most PSNR in dB lost against the truth, where it is known.", show_default="int8 0.1"),
    ] = None,
    rebuild: Annotated[
        Path | None,
        typer.Option("--rebuild", metavar="DIR", help="Build the plan of a bundle on this machine; needs no PyTorch."),
    ] = None,
    profile: Annotated[
        list[str] | None,
        typer.Option(metavar="MIN,OPT,MAX", help="A batch range of the plan; repeatable.", show_default="--batch"),
    ] = None,
    workspace: Annotated[
        float | None, typer.Option(min=0.01, metavar="GIB", help="Scratch memory of the plan.", show_default="all")
    ] = None,
    level: Annotated[
        int | None, typer.Option(min=0, max=5, help="Effort of the plan's build.", show_default="TensorRT's, 3")
    ] = None,
    hardware: Annotated[
        str, typer.Option(help="GPUs the plan runs on: none (this one's kind), same-compute-capability, ampere-plus.")
    ] = "none",
    version_compatible: Annotated[
        bool, typer.Option("--version-compatible", help="The plan runs on later TensorRT versions too; with --trust.")
    ] = False,
    timing_cache: Annotated[
        Path | None, typer.Option(help="Kernel timings of earlier builds.", show_default="in the user's cache")
    ] = None,
    device: Annotated[str, typer.Option(help="The GPU to build the plan for.")] = "cuda:0",
    force: Annotated[bool, typer.Option("--force", help="Publish an engine over its budget, marked as such.")] = False,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The bundle's directory.", show_default="MODEL-PRECISION")
    ] = None,
    list_models: Annotated[bool, typer.Option("--list", help="List the registered models and stop.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print a summary to stdout.")] = False,
) -> None:
    """Export MODEL as a bundle: its graph, proven against PyTorch, and the plan where TensorRT and a GPU are.

    \b
    fsr-export aminet --checkpoint aminet.safetensors --fp16
    fsr-export runs/aminet/best.safetensors --faces photos/ -o bundles/aminet
    fsr-export --rebuild bundles/aminet --profile 1,1,1 --profile 8,64,128
    """
    if list_models:
        _list(json)
        return
    plan = _plan_options(profile or [], workspace, level, hardware, version_compatible, timing_cache, device)
    if rebuild is not None:
        if model is not None:
            raise UsageError("--rebuild takes a bundle as it is; leave MODEL out")
        if target != "auto" or with_plan is not None:
            raise UsageError("--rebuild builds the plan of a bundle as it is; leave --target, --plan and --no-plan out")
        _rebuild(rebuild, plan, force=force, json=json)
        return
    if model is None:
        raise UsageError("name a MODEL or a CHECKPOINT to export; --list shows the models")
    precision = _precision(fp16=fp16, bf16=bf16, int8=int8)
    from fsr_deploy.exporting.options import Int8Options

    load("onnxruntime", one_onnxruntime("export"))  # known before minutes are spent
    from fsr_deploy.exporting.options import ExportOptions
    from fsr_deploy.exporting.proof.parity import budget_for
    from fsr_deploy.exporting.tensorrt.config import batch_range

    options = ExportOptions(
        model=model,
        checkpoint=checkpoint,
        key=key,
        precision=precision,
        lr_size=lr_size,
        batches=batch_range("--batch", batch),
        target=target,
        with_plan=with_plan,
        io=cast("Io", io),
        opset=opset,
        faces=faces,
        budget=budget_for(precision, budget_db, budget_levels, budget_loss),
        plan=plan,
        int8=Int8Options(calib=calib, calibrator=calibrator, images=calib_images),
        repair=repair,
        analyze=analyze,
        force=force,
        output=output,
    )
    from fsr_deploy.exporting.pipeline import export  # PyTorch takes seconds: wrong options are told before

    bundle = export(options)
    _say_next(bundle, options)
    if json:
        print_json(_summary(bundle))


def _precision(**flags: bool) -> str:
    from fsr_deploy.bundle.info import MIXED

    chosen = [name for name, given in flags.items() if given]
    if chosen == ["fp16", "int8"]:
        return MIXED
    if len(chosen) > 1:
        raise UsageError(f"--{' and --'.join(chosen)} exclude each other; only --int8 and --fp16 go together")
    return chosen[0] if chosen else "fp32"


def _plan_options(
    profiles: list[str],
    workspace: float | None,
    level: int | None,
    hardware: str,
    version_compatible: bool,
    timing_cache: Path | None,
    device: str,
) -> PlanOptions:
    from fsr_deploy.exporting.tensorrt.config import HARDWARE, PlanOptions, batch_range
    from fsr_deploy.runtime.open import parse_device

    refuse_unknown("--hardware", hardware, tuple(name.replace("_", "-") for name in HARDWARE))
    if not parse_device(device).startswith("cuda:"):
        raise UsageError(f"--device {device}: a plan is built for a GPU; name cuda:0, cuda:1 ...")
    return PlanOptions(
        profiles=tuple(batch_range("--profile", text) for text in profiles),
        workspace_gib=workspace,
        level=level,
        hardware=hardware.replace("-", "_"),
        version_compatible=version_compatible,
        timing_cache=timing_cache,
        device=int(parse_device(device).removeprefix("cuda:")),
    )


def _rebuild(directory: Path, plan: PlanOptions, *, force: bool, json: bool) -> None:
    from fsr_deploy.bundle.info import Bundle
    from fsr_deploy.exporting.tensorrt.plan import rebuild

    bundle = Bundle(directory, rebuild(directory, plan, force=force))
    _say_next(bundle)
    if json:
        print_json(_summary(bundle))


def _list(json: bool) -> None:
    from fsr_deploy.models import registry

    records = [registry.find(name) for name in registry.names()]
    if json:
        print_json({record.name: {"description": record.description, "paper": record.paper} for record in records})
        return
    width = max(len(record.name) for record in records)
    for record in records:
        size = f"{record.params:6.2f} M {record.macs:6.2f} G" if record.params and record.macs else " " * 17
        print(f"{record.name:<{width}}  {size}  {record.description}")


def _say_next(bundle: Bundle, options: ExportOptions | None = None) -> None:
    """Say what was written and what to do with it; ``options`` are those of an export, None of a rebuild."""
    size = sum((bundle.path / name).stat().st_size for name in bundle.info.files)
    say(f"wrote {bundle.path}: {', '.join(bundle.info.files)} ({size / 2**20:.1f} MiB)")
    if options and bundle.info.plan is None:
        if bundle.info.graph_target == "tensorrt":
            from fsr_deploy.exporting.tensorrt.plan import why_no_plan

            say(f"no TensorRT plan: {'--no-plan' if options.with_plan is False else why_no_plan(options.plan.device)}")
            say(f"build it where the GPU is: fsr-export --rebuild {bundle.path}")
        elif options.target == "auto":
            say("the graph is written for ONNX Runtime; for a GPU with TensorRT export it with --target tensorrt")
    runs_here = bundle.info.plan is not None or bundle.info.precision != "bf16"
    if bundle.info.io == "uint8" and runs_here:
        say(f"run it: fsr-run {bundle.path} FRAMES -o OUT")


def _summary(bundle: Bundle) -> dict[str, Any]:
    from dataclasses import asdict

    return {"bundle": str(bundle.path), **asdict(bundle.info)}


if __name__ == "__main__":
    main()
