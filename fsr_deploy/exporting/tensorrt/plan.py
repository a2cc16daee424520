"""The plan of a bundle that is being written: built, and proven where this machine can run it."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

from fsr_deploy._util.log import say
from fsr_deploy.bundle.info import NOT_PROVEN, ONNX_NAME, PLAN_NAME, BundleInfo
from fsr_deploy.exporting.proof.verdict import judged, without_plan
from fsr_deploy.exporting.report.kernel_table import lines
from fsr_deploy.exporting.tensorrt import child
from fsr_deploy.exporting.tensorrt.child import BuildRequest
from fsr_deploy.exporting.tensorrt.config import PlanOptions
from fsr_deploy.exporting.tensorrt.plan_proof import Proven, add_proof
from fsr_deploy.runtime.tensorrt.availability import why_no_run
from fsr_deploy.runtime.tensorrt.flavour import FLAVOURS


def add_plan(
    directory: Path, info: BundleInfo, options: PlanOptions, *, force: bool = False
) -> tuple[BundleInfo, Proven | None]:
    """Build ``engine.plan`` beside a directory's ``model.onnx``, prove it and return what is now known, and the proof.

    The directory is the one that a bundle is staged in; it holds ``reference.npz`` too. A plan of TensorRT for RTX that
    this machine cannot run is not proven: there is no proof then, and the record says so. Errors are those of
    ``build_plan`` and ``add_proof``. What was known of an earlier plan is left out.
    """
    graph, plan = directory / ONNX_NAME, directory / PLAN_NAME
    built = child.build(BuildRequest(graph, plan, info.precision, info.batches, options, info.precision_map, info.io))
    say(f"built {PLAN_NAME}: {plan.stat().st_size / 2**20:.1f} MiB in {built.seconds:.0f} s")
    info = replace(info, plan=built.info, kernels=asdict(built.kernels) if built.kernels else info.kernels)
    for line in lines(info) if built.kernels else ():
        say(f"    {line}")
    if FLAVOURS[built.info.flavour].builds_anywhere and (reason := why_no_run(built.info, options.device)):
        say(f"{PLAN_NAME} is {NOT_PROVEN} ({reason})")
        return judged(replace(info, parity=without_plan(info.parity))), None
    return add_proof(directory, info, device=options.device, force=force)
