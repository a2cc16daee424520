"""Whether a TensorRT plan can run here, found out before TensorRT sees it.

A plan is bound to a TensorRT version, a compute capability and a system, and it is executable code. TensorRT has no
call that asks beforehand; what ``bundle.json`` says is the truth, the first bytes of the plan a cross-check.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass

from fsr_deploy.bundle.engine_file import EngineFile
from fsr_deploy.bundle.info import PlanInfo
from fsr_deploy.errors import InputError
from fsr_deploy.runtime.cuda.driver import Gpu
from fsr_deploy.runtime.tensorrt.flavour import FLAVOURS, flavour_of_plan
from fsr_deploy.runtime.tensorrt.library import version

HEADER_BYTES = 28  # plans of TensorRT 8 have no header: they are only as known as their bundle
LARGEST_BYTE = 255
MAGICS = [flavour.magic for flavour in FLAVOURS.values()]


@dataclass(frozen=True)
class PlanHost:
    """What a plan has to match: the GPU, the system ("linux-x86_64") and its TensorRT's version ("10.16.1.11")."""

    tensorrt: str
    gpu: Gpu
    platform: str


def this_platform() -> str:
    """Return the system that plans of this machine are bound to: "linux-x86_64"."""
    return f"{platform.system()}-{platform.machine()}".lower()


def check_file(file: EngineFile, *, trust: bool) -> None:
    """Refuse a plan that needs trust it was not given, is no plan, or is not what its bundle says.

    ``file`` has its hash checked already. Raises InputError; needs neither TensorRT nor a GPU.
    """
    if file.bundle is None:
        if not trust:
            raise InputError(
                f"{file.path}: a plan without a bundle; loading a plan can run code, "
                "add --trust if you trust its origin"
            )
        return
    plan = file.bundle.plan
    if plan is None:
        raise InputError(f"{file.path}: its bundle says nothing about a plan; {_rebuild(file)}")
    if plan.version_compatible and not trust:
        raise InputError(
            f"{file.path}: a version-compatible plan carries host code; add --trust if you trust its origin"
        )
    flavour, expected = FLAVOURS[plan.flavour], version(plan.tensorrt)
    if expected >= flavour.header_since:
        found, theirs = header_version(file), flavour_of_plan(file.content)
        same = found[:3] == expected[:3] and (len(expected) < 4 or found[3] == min(expected[3], LARGEST_BYTE))
        if theirs != flavour or not same:
            raise InputError(
                f"{file.path}: its header says {theirs.title} {_dotted(found)}, its bundle {flavour.title} "
                f"{plan.tensorrt}; {_rebuild(file)}"
            )


def header_version(file: EngineFile) -> tuple[int, ...]:
    """Return the TensorRT version (major, minor, patch, build) in a plan's header; raises InputError without one."""
    header = file.content[:HEADER_BYTES]
    if len(header) < HEADER_BYTES or header[:4] not in MAGICS or any(header[4:8]):
        raise InputError(f"{file.path}: not a TensorRT plan, or cut off")
    return tuple(header[24:28])


def check_machine(file: EngineFile, machine: PlanHost) -> tuple[str, ...]:
    """Refuse a plan that was built for another TensorRT, GPU or system than this machine's; raises InputError.

    Returns what whoever runs it should know: a plan runs on other GPU models of its compute capability, with kernels
    that were chosen for another number of processors and another memory.
    """
    plan = file.bundle.plan if file.bundle else None
    if plan is None:
        _check_foreign(file, machine)
        return ()
    if plan.platform != machine.platform:
        raise InputError(
            f"{file.path}: built for {plan.platform}, this machine is {machine.platform}: {_rebuild(file)}"
        )
    if not (_runs_on_gpu(plan, machine.gpu) and _runs_on_tensorrt(plan, machine.tensorrt)):
        built, here = _short_versions(plan.tensorrt, machine.tensorrt)
        gpus = ", ".join(plan.gpus) or "sm_" + plan.compute_capability.replace(".", "")
        raise InputError(
            f"{file.path}: built for {gpus} / {FLAVOURS[plan.flavour].title} {built}, "
            f"this machine is {machine.gpu.sm} / {here}: {_rebuild(file)}"
        )
    if plan.hardware_compatibility == "none" and plan.gpu and plan.gpu != machine.gpu.name:
        return (
            f"the plan was built on {plan.gpu} and runs on {machine.gpu.name}: it may be slower than one built here, "
            f"{_rebuild(file)}",
        )
    return ()


def _check_foreign(file: EngineFile, machine: PlanHost) -> None:
    """Of a foreign plan only the header speaks, and only since TensorRT 9."""
    here, flavour = version(machine.tensorrt), flavour_of_plan(file.content)
    if here < flavour.header_since:
        return
    found = header_version(file)
    if found[:3] != here[:3]:
        built, this = _short_versions(_dotted(found), machine.tensorrt)
        raise InputError(
            f"{file.path}: built for {flavour.title} {built}, this machine has {this}: "
            "build it again from its ONNX file"
        )


def _runs_on_gpu(plan: PlanInfo, gpu: Gpu) -> bool:
    if plan.gpus:
        return gpu.sm in plan.gpus
    built = version(plan.compute_capability)
    if plan.hardware_compatibility == "ampere_plus":
        return gpu.compute_capability >= (8, 0)
    return gpu.compute_capability == built


def _runs_on_tensorrt(plan: PlanInfo, here: str) -> bool:
    built, this = version(plan.tensorrt), version(here)
    if plan.version_compatible:
        return built[:1] == this[:1] and built <= this
    return built == this


def _short_versions(built: str, here: str) -> tuple[str, str]:
    """Return both versions as "11.1", or in full where that would hide the difference."""
    if version(built)[:2] == version(here)[:2]:
        return built, here
    return _dotted(version(built)[:2]), _dotted(version(here)[:2])


def _dotted(numbers: tuple[int, ...]) -> str:
    return ".".join(map(str, numbers))


def _rebuild(file: EngineFile) -> str:
    plan = file.bundle.plan if file.bundle else None
    target = " --target rtx" if plan and plan.flavour == "rtx" else ""
    return f"fsr-export --rebuild {file.path.parent}{target}"
