"""fsr-export: write a network as an engine that is proven against the network itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import typer

from fsr_deploy._util.console import command, print_json, show
from fsr_deploy._util.imports import load, one_onnxruntime
from fsr_deploy.errors import UsageError

if TYPE_CHECKING:
    from fsr_deploy.bundle.info import Bundle, Io
    from fsr_deploy.exporting.tensorrt.config import PlanOptions
from fsr_deploy.cli import export_options as option
from fsr_deploy.cli import plan_options as plan_option
from fsr_deploy.exporting.report.next_steps import say_next


@command
def main(
    context: typer.Context,
    model: option.Model = None,
    checkpoint: option.Checkpoint = None,
    key: option.Key = None,
    fp16: option.Fp16 = False,
    bf16: option.Bf16 = False,
    int8: option.Int8 = False,
    calib: option.Calib = None,
    calibrator: option.Calibrator = "max",
    calib_images: option.CalibImages = 64,
    repair: option.Repair = True,
    analyze: option.Analyze = False,
    faces: option.Faces = None,
    lr_size: option.LrSize = None,
    batch: option.Batch = "1,8,32",
    target: option.Target = "auto",
    with_plan: option.WithPlan = None,
    io: option.Io = "uint8",
    opset: option.Opset = None,
    budget_db: option.BudgetDb = None,
    budget_levels: option.BudgetLevels = None,
    budget_loss: option.BudgetLoss = None,
    rebuild: plan_option.Rebuild = None,
    profile: plan_option.Profile = None,
    workspace: plan_option.Workspace = None,
    level: plan_option.Level = None,
    hardware: plan_option.Hardware = "none",
    version_compatible: plan_option.VersionCompatible = False,
    timing_cache: plan_option.TimingCache = None,
    device: plan_option.Device = "cuda:0",
    force: option.Force = False,
    output: option.Output = None,
    list_models: option.ListModels = False,
    json: option.Json = False,
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
    from fsr_deploy.exporting.tensorrt.config import plan_options

    plan = plan_options(profile or [], workspace, level, hardware, version_compatible, timing_cache, device)
    if rebuild is not None:
        plan_option.refuse_others(context)
        _rebuild(rebuild, plan, force=force, json=json)
        return
    if model is None:
        raise UsageError("name a MODEL or a CHECKPOINT to export; --list shows the models")
    precision = _precision(fp16=fp16, bf16=bf16, int8=int8)
    load("onnxruntime", one_onnxruntime("export"))  # known before minutes are spent
    from fsr_deploy.exporting.options import ExportOptions, Int8Options
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
    from fsr_deploy.exporting.pipeline import run_export  # PyTorch takes seconds: wrong options are told before

    bundle = run_export(options)
    say_next(bundle, options)
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


def _rebuild(directory: Path, plan: PlanOptions, *, force: bool, json: bool) -> None:
    from fsr_deploy.bundle.info import Bundle
    from fsr_deploy.exporting.tensorrt.plan import rebuild_plan

    bundle = Bundle(directory, rebuild_plan(directory, plan, force=force))
    say_next(bundle)
    if json:
        print_json(_summary(bundle))


def _list(json: bool) -> None:
    from fsr_deploy.models import registry

    records = [registry.find(name) for name in registry.names()]
    if json:
        print_json({record.name: {"description": record.description, "paper": record.paper} for record in records})
    else:
        show("\n".join(registry.lines(records)))


def _summary(bundle: Bundle) -> dict[str, Any]:
    from dataclasses import asdict

    return {"bundle": str(bundle.path), **asdict(bundle.info)}


if __name__ == "__main__":
    main()
