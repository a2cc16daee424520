"""fsr-export --fastest: from the command's options to those of the fastest engine."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

from fsr_deploy._util.sizes import read_size
from fsr_deploy.cli.plan_options import OPTIONS
from fsr_deploy.errors import UsageError

if TYPE_CHECKING:
    from fsr_deploy.bundle.info import Bundle
    from fsr_deploy.cli.export_options import Arguments
    from fsr_deploy.exporting.tensorrt.config import PlanOptions

CHOSEN = (
    "fp16",
    "bf16",
    "int8",
    "fp8",
    "target",
    "with_plan",
    "io",
    "opset",
    "analyze",
    "check_tensorrt",
    "force",
    "gpus",
)


def export_fastest(given: Arguments, plan: PlanOptions) -> Bundle:
    """Export MODEL as the fastest engine of this machine; raises UsageError for options that would have no effect."""
    if not given.fastest:
        raise UsageError(f"--for {given.goal} says what --fastest times; give --fastest too")
    if given.model is None:
        raise UsageError("name a MODEL or a CHECKPOINT to export; --list shows the models")
    for field in fields(given):
        if field.name in CHOSEN and getattr(given, field.name) != field.default:
            option = OPTIONS.get(field.name, f"--{field.name.replace('_', '-')}")
            raise UsageError(f"--fastest chooses among all engines of this machine; leave {option} out")
    from fsr_deploy.choosing.fastest import FastestOptions, run_fastest, shared_options
    from fsr_deploy.exporting.options import Int8Options
    from fsr_deploy.exporting.proof.parity import Budget
    from fsr_deploy.exporting.report.next_steps import say_next
    from fsr_deploy.exporting.tensorrt.config import batch_range

    budget = Budget(given.budget_db, given.budget_levels, given.budget_loss)
    options = shared_options(
        given.model,
        budget=budget,
        checkpoint=given.checkpoint,
        key=given.key,
        lr_size=read_size("--lr-size", given.lr_size),
        batches=batch_range("--batch", given.batch),
        faces=given.faces,
        plan=plan,
        int8=Int8Options(calib=given.calib, calibrator=given.calibrator, images=given.calib_images),
        repair=given.repair,
        output=given.output,
    )
    bundle = run_fastest(FastestOptions(options, given.goal or "latency", budget))
    say_next(bundle)
    return bundle
