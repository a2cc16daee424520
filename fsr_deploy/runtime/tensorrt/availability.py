"""Whether this machine can build a plan, and run one."""

from __future__ import annotations

from fsr_deploy.bundle.info import PlanInfo
from fsr_deploy.errors import MissingError
from fsr_deploy.runtime.cuda import api as cuda
from fsr_deploy.runtime.cuda.driver import find_gpu
from fsr_deploy.runtime.tensorrt.flavour import FLAVOURS, TENSORRT, Flavour
from fsr_deploy.runtime.tensorrt.library import load


def why_no_plan(device: int = 0, flavour: Flavour = TENSORRT) -> str:
    """Return in one sentence why no plan can be built on this machine, "" where one can."""
    try:
        if flavour.builds_anywhere:
            load(flavour)
            return ""
        find_gpu(device)
        load(flavour)
        cuda.runtime()
    except MissingError as error:
        return str(error)
    return ""


def why_no_run(plan: PlanInfo, device: int = 0) -> str:
    """Return in one sentence why a plan of TensorRT for RTX cannot be run, and so proven, on this machine."""
    try:
        gpu = find_gpu(device)
        load(FLAVOURS[plan.flavour])
        cuda.runtime()
    except MissingError as error:
        return str(error)
    return "" if gpu.sm in plan.gpus else f"it is for {', '.join(plan.gpus)}, this machine has {gpu.name} ({gpu.sm})"
