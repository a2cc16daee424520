"""What each command can do with a bundle: on this machine, and on which GPUs at all."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fsr_deploy._util import imports
from fsr_deploy.bundle.engine_file import read_engine_file
from fsr_deploy.bundle.info import INT8_BF16, ONNX_NAME, PLAN_NAME, TARGET_TITLES, Bundle, PlanInfo, read_bundle
from fsr_deploy.errors import FsrError, InputError, MissingError
from fsr_deploy.runtime.cuda import api as cuda
from fsr_deploy.runtime.cuda.driver import find_gpu
from fsr_deploy.runtime.machine import computes_bf16
from fsr_deploy.runtime.open import proven_with
from fsr_deploy.runtime.tensorrt.availability import why_no_plan
from fsr_deploy.runtime.tensorrt.flavour import FLAVOURS, RTX
from fsr_deploy.runtime.tensorrt.library import load
from fsr_deploy.runtime.tensorrt.preflight import PlanHost, check_file, check_machine, this_platform


@dataclass(frozen=True)
class Use:
    """Something that a command does with a bundle; ``problem`` is why it cannot be done here, "" where it can."""

    command: str
    does: str
    problem: str


def uses_of(directory: Path) -> list[Use]:
    """Return what can be done with a bundle; raises InputError for a directory that is none."""
    bundle = read_bundle(directory)
    uses = []
    if ONNX_NAME in bundle.info.files:
        library = TARGET_TITLES[proven_with(bundle.info)]
        uses.append(Use("fsr-run --device cpu", f"run {ONNX_NAME} with {library}", _graph_problem(bundle)))
    if bundle.info.plan and PLAN_NAME in bundle.info.files:
        plan = bundle.info.plan
        proven = "proven" if plan.proven else "not proven yet"
        does = f"run {PLAN_NAME} of {plan.library} on {_gpus(plan)}, {proven}"
        uses.append(Use("fsr-run --device cuda", does, _plan_problem(bundle, plan)))
    if ONNX_NAME in bundle.info.files:
        title = TARGET_TITLES[bundle.info.graph_target]
        another = "" if title == "TensorRT" else f", from a graph that is written for {title}"
        uses.append(Use("fsr-export --rebuild", f"build a plan for a GPU of this machine{another}", why_no_plan()))
        does = f"compile a plan for other machines' RTX cards{another}"
        uses.append(Use("fsr-export --rebuild --target rtx", does, why_no_plan(flavour=RTX)))
    return uses


def _gpus(plan: PlanInfo) -> str:
    if plan.gpus:
        return ", ".join(plan.gpus)
    if plan.hardware_compatibility == "ampere_plus":
        return "sm_80 and newer"
    return f"sm_{plan.compute_capability.replace('.', '')} (built on {plan.gpu})"


def _graph_problem(bundle: Bundle) -> str:
    module = proven_with(bundle.info)
    if module == "openvino" and bundle.info.precision in ("bf16", INT8_BF16) and not computes_bf16():
        return "this CPU has no instructions for BF16"
    if module == "onnxruntime" and bundle.info.precision == "bf16":
        return "ONNX Runtime computes no BF16 on a CPU; export it in another precision"
    if bundle.info.io == "float":
        return "it takes and gives floats (--io float), fsr-run needs faces"
    try:
        read_engine_file(bundle.path / ONNX_NAME)
        imports.load(module)
    except FsrError as error:
        return str(error)
    return ""


def _plan_problem(bundle: Bundle, plan: PlanInfo) -> str:
    """Return why the plan cannot run here, as far as that is known without loading it."""
    try:
        file = read_engine_file(bundle.path / PLAN_NAME)
        check_file(file, trust=plan.version_compatible)
        gpu = find_gpu(0)
        check_machine(file, PlanHost(load(FLAVOURS[plan.flavour]).__version__, gpu, this_platform()))
        cuda.runtime()
    except (InputError, MissingError) as error:
        return str(error)
    return ""
