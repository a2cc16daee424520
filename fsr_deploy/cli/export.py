"""fsr-export: write a network as an engine that is proven against the network itself."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, cast

from fsr_deploy._util.console import command, options_from, print_json, show
from fsr_deploy._util.imports import load, one_onnxruntime
from fsr_deploy._util.sizes import read_size
from fsr_deploy.bundle.info import INT8_BF16, MIXED, MIXED_FP8, Bundle, Io
from fsr_deploy.cli.change import change
from fsr_deploy.cli.export_options import Arguments
from fsr_deploy.cli.fastest import export_fastest
from fsr_deploy.errors import UsageError
from fsr_deploy.exporting.report.next_steps import say_next

if TYPE_CHECKING:
    from fsr_deploy.exporting.tensorrt.config import PlanOptions


@command
@options_from(Arguments)
def main(given: Arguments) -> None:
    """Export MODEL as a bundle: its graph, proven against PyTorch, and the plan where TensorRT and a GPU are.

    \b
    fsr-export aminet --checkpoint aminet.safetensors --fp16
    fsr-export aminet --fp16 --target rtx --gpus sm_86,sm_89
    fsr-export aminet --fastest --for throughput
    fsr-export --rebuild bundles/aminet --profile 1,1,1 --profile 8,64,128
    """
    if given.list_models:
        _list(given.json)
        return
    plan = given.options("rtx" if given.target == "rtx" else "tensorrt")
    given.check_triton()
    given.check_provenance(given.rebuild or given.prove)
    wants_fastest = given.fastest or given.goal is not None
    is_there = given.rebuild or given.prove or given.bundle
    bundle = (change if is_there else export_fastest if wants_fastest else _export)(given, plan)
    given.write_provenance(bundle)
    given.write_triton(bundle)
    if given.json:
        print_json({"bundle": str(bundle.path), **asdict(bundle.info)})


def _export(given: Arguments, plan: PlanOptions) -> Bundle:
    if given.model is None:
        raise UsageError("name a MODEL or a CHECKPOINT to export; --list shows the models")
    load("onnxruntime", one_onnxruntime("export"))  # with the extra to install, which a failed import would not name
    from fsr_deploy.exporting.options import ExportOptions, Int8Options
    from fsr_deploy.exporting.proof.parity import budget_for
    from fsr_deploy.exporting.tensorrt.config import batch_range

    precision = precision_of(fp16=given.fp16, bf16=given.bf16, int8=given.int8, fp8=given.fp8)
    options = ExportOptions(
        model=given.model,
        checkpoint=given.checkpoint,
        key=given.key,
        precision=precision,
        lr_size=read_size("--lr-size", given.lr_size),
        batches=batch_range("--batch", given.batch),
        target=given.target,
        with_plan=given.with_plan,
        io=cast(Io, given.io),
        opset=given.opset,
        faces=given.faces,
        budget=budget_for(precision, given.budget_db, given.budget_levels, given.budget_loss),
        plan=plan,
        int8=Int8Options(calib=given.calib, calibrator=given.calibrator, images=given.calib_images),
        repair=given.repair,
        analyze=given.analyze,
        check_tensorrt=given.check_tensorrt,
        force=given.force,
        output=given.output,
    )
    from fsr_deploy.exporting.export import run_export  # PyTorch takes seconds: wrong options are reported before

    bundle = run_export(options)
    say_next(bundle, options)
    return bundle


TOGETHER = {"fp16 int8": MIXED, "bf16 int8": INT8_BF16, "fp8": MIXED_FP8, "fp16 fp8": MIXED_FP8}


def precision_of(**flags: bool) -> str:
    """Return the precision that flags ask for together; raises UsageError for those that exclude each other."""
    chosen = [name for name, given in flags.items() if given]
    if len(chosen) > 1 and " ".join(chosen) not in TOGETHER:
        rule = "only --fp16 goes with --int8 or --fp8, and --bf16 with --int8"
        raise UsageError(f"--{' and --'.join(chosen)} exclude each other; {rule}")
    return TOGETHER.get(" ".join(chosen), chosen[0] if chosen else "fp32")


def _list(json: bool) -> None:
    from fsr_deploy.models import registry

    records = [registry.find(name) for name in registry.names()]
    if json:
        print_json({record.name: {"description": record.description, "paper": record.paper} for record in records})
    else:
        show("\n".join(registry.lines(records)))


if __name__ == "__main__":
    main()
