"""What a graph is written for on this machine, and whether a plan of it is built here."""

from __future__ import annotations

from fsr_deploy._util.imports import load
from fsr_deploy.bundle.info import INT8_BF16, MIXES
from fsr_deploy.errors import MissingError
from fsr_deploy.exporting.options import ExportOptions
from fsr_deploy.exporting.precision.emulate import TYPES
from fsr_deploy.exporting.rewrite.rewrites import Target
from fsr_deploy.runtime.machine import computes_bf16, multiplies_int8_exactly
from fsr_deploy.runtime.tensorrt.availability import why_no_plan
from fsr_deploy.runtime.tensorrt.flavour import RTX


def choose_target(options: ExportOptions) -> tuple[Target, bool]:
    """Return what the graph is written for, and whether a plan of it is built here (see ExportOptions).

    Raises MissingError where a plan was asked for and cannot be built, and where OpenVINO or what it needs is missing.
    """
    if options.target == "onnxruntime":
        return "onnxruntime", False
    if options.target == "openvino":
        _check_openvino(options.precision)
        return "openvino", False
    if options.check_tensorrt and (reason := why_no_plan(flavour=RTX)):
        raise MissingError(f"--check-tensorrt: {reason}")
    if options.target == "rtx":
        if (reason := why_no_plan(flavour=RTX)) and options.with_plan is not False:
            raise MissingError(f"--target rtx: {reason}")
        return "tensorrt", options.with_plan is not False
    reason = why_no_plan(options.plan.device)
    if reason and options.with_plan:
        raise MissingError(f"--plan: {reason}; without it, --rebuild builds the plan later, where the GPU is")
    if options.target == "auto" and reason and options.precision not in (*TYPES, *MIXES) and not options.check_tensorrt:
        return "onnxruntime", False
    return "tensorrt", not reason and options.with_plan is not False


def _check_openvino(precision: str) -> None:
    """Raise MissingError where the graph could not be proven here; BF16 alone can be, by rounding each result."""
    load("openvino")
    if precision in ("int8", INT8_BF16) and not multiplies_int8_exactly():
        raise MissingError(
            "--target openvino: this CPU has no VNNI, without which OpenVINO's sums of 8-bit products overflow; "
            "--int8 --target onnxruntime multiplies exactly"
        )
    if precision == INT8_BF16 and not computes_bf16():
        raise MissingError("--int8 --bf16: this CPU has no instructions for BF16; --int8 alone needs none")
