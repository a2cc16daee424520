"""Faults of TensorRT that concern the graphs here, by version: read by a build and printed by fsr-doctor.

A table of September 2026, of public reports that were open then. The versions are those that a report names; a later
one may still have the fault. A plan is proven against eager's faces whatever stands here: the table says why it may
fail, it never lets one pass.
"""

from __future__ import annotations

from dataclasses import dataclass

from fsr_deploy.bundle.info import MIXES
from fsr_deploy.runtime.tensorrt.library import version

Release = tuple[int, int]


@dataclass(frozen=True)
class Fault:
    """One fault: the versions that have it, ``first`` to ``last`` (major, minor), and the precisions it concerns.

    ``silent`` tells that a plan is built all the same and computes something else. ``report`` names the public report.
    """

    first: Release
    last: Release
    precisions: tuple[str, ...]
    what: str
    report: str
    silent: bool = False

    def __str__(self) -> str:
        return f"{self.what} ({self.report})"


FAULTS = (
    Fault(
        (11, 2),
        (11, 2),
        ("fp16", *MIXES),
        "a convolution, its activation and a residual sum that reads a part of a concatenation give wrong FP16 "
        "results, without an error",
        "NVIDIA/TensorRT#4854",
        silent=True,
    ),
    Fault(
        (11, 2),
        (11, 2),
        ("fp16", *MIXES),
        "no plan of a grouped convolution in FP16 is built on some GPUs",
        "NVIDIA/TensorRT#4838",
    ),
    Fault(
        (11, 0),
        (11, 2),
        ("bf16",),
        "no plan of a transposed convolution in BF16 is built",
        "NVIDIA/TensorRT#4829",
    ),
)


def faults_of(tensorrt: str, precision: str) -> list[Fault]:
    """Return the known faults of a TensorRT version ("11.2.1.2") that concern graphs of a precision."""
    return [fault for fault in FAULTS if _has(tensorrt, fault) and precision in fault.precisions]


def known_faults(tensorrt: str) -> list[str]:
    """Return the known faults of a TensorRT version ("11.2.1.2"), one sentence each; none for most versions."""
    return [str(fault) for fault in FAULTS if _has(tensorrt, fault)]


def _has(tensorrt: str, fault: Fault) -> bool:
    release = version(tensorrt)[:2]
    return fault.first <= release <= fault.last
