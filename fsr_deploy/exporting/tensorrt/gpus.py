"""The GPUs that TensorRT for RTX compiles for, by compute capability: a plan names them before it has seen any.

And what each can compute, which holds for TensorRT too.
"""

from __future__ import annotations

from fsr_deploy.bundle.info import MIXED_FP8
from fsr_deploy.errors import MissingError, UsageError
from fsr_deploy.runtime.cuda.driver import Gpu

TURING = "sm_75"
HOPPER = "sm_90"
# What each is called, for messages and reports.
RTX_GPUS = {
    TURING: "Turing: GeForce RTX 20, GTX 16, T4",
    "sm_80": "Ampere: A100, A30",
    "sm_86": "Ampere: GeForce RTX 30, RTX A6000, A10",
    "sm_89": "Ada: GeForce RTX 40, L4, L40",
    "sm_120": "Blackwell: GeForce RTX 50, RTX PRO 6000",
    "sm_121": "Blackwell: DGX Spark",
}
EVERY_GPU = tuple(gpu for gpu in RTX_GPUS if gpu != TURING)  # Turing costs another form of the graph
FP8_GPUS = ("sm_89", "sm_120", "sm_121")  # those that multiply in FP8
FP8_SINCE = (8, 9)


def gpus_for(precision: str) -> tuple[str, ...]:
    """Return the GPUs that a plan in a precision is compiled for where none is named."""
    return FP8_GPUS if precision == MIXED_FP8 else EVERY_GPU


def check_gpus(gpus: tuple[str, ...], precision: str) -> None:
    """Raise UsageError for a GPU that TensorRT for RTX does not compile for, or not in this precision."""
    for gpu in gpus:
        if gpu == HOPPER:
            raise UsageError(
                f"--gpus {gpu}: TensorRT for RTX has no kernels for Hopper (H100, H200); build its plan there, "
                "with TensorRT: fsr-export --rebuild DIR"
            )
        if gpu not in RTX_GPUS:
            raise UsageError(f"--gpus {gpu}: not one of {', '.join(RTX_GPUS)}")
    if precision == "bf16" and TURING in gpus:
        raise UsageError(f"--gpus {TURING}: Turing has no BF16; take --fp16")
    if precision == MIXED_FP8 and (older := [gpu for gpu in gpus if gpu not in FP8_GPUS]):
        raise UsageError(
            f"--gpus {','.join(older)}: multiplies no FP8, which began with Ada ({', '.join(FP8_GPUS)}); "
            "take --int8 --fp16"
        )


def check_gpu(gpu: Gpu, precision: str) -> None:
    """Raise MissingError where this machine's GPU cannot compute in a precision, before a build finds out."""
    if precision == MIXED_FP8 and gpu.compute_capability < FP8_SINCE:
        raise MissingError(
            f"{gpu.name} ({gpu.sm}) multiplies no FP8, which began with Ada (sm_89) and Hopper (sm_90); "
            "export with --int8 --fp16"
        )
