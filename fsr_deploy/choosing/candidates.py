"""Which engines of a network this machine can run: the candidates for the fastest one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fsr_deploy._util.imports import load
from fsr_deploy.bundle.info import INT8_BF16, MIXED, TARGET_TITLES
from fsr_deploy.errors import MissingError
from fsr_deploy.exporting.precision.emulate import TYPES
from fsr_deploy.runtime.machine import computes_bf16, multiplies_int8_exactly
from fsr_deploy.runtime.tensorrt.availability import why_no_plan

ON_A_GPU = ("fp16", "bf16", "int8", MIXED)


@dataclass(frozen=True)
class Candidate:
    """An engine to build: the precision that it computes in, and the target of ExportOptions that it is written for."""

    precision: str
    target: str

    @property
    def title(self) -> str:
        """Its name for a person: "int8, ONNX Runtime"."""
        return f"{self.precision}, {TARGET_TITLES[self.target]}"

    @property
    def form(self) -> str:
        """What its graph is traced as: candidates of one form share the trace."""
        return f"{self.target} {self.precision if self.precision in TYPES else 'fp32'}"

    @property
    def folder(self) -> str:
        """A name for its directory."""
        return f"{self.target}-{self.precision.replace('+', '-')}"


def find_candidates(device: int = 0) -> tuple[list[Candidate], list[str]]:
    """Return the engines that this machine can run, and for each that it cannot a sentence that says why.

    Plans for the GPU of this number where one can be built; otherwise graphs for the CPU.
    """
    if not why_no_plan(device):
        return [Candidate(precision, "tensorrt") for precision in ON_A_GPU], []
    found = [Candidate("fp32", "onnxruntime"), Candidate("int8", "onnxruntime")]
    try:
        load("openvino")
    except MissingError as error:
        return found, [f"none in OpenVINO: {error}"]
    bf16, int8 = computes_bf16(), multiplies_int8_exactly()
    kinds: Sequence[tuple[str, bool, str]] = (
        ("fp32", True, ""),
        ("bf16", bf16, "this CPU has no instructions for BF16"),
        ("int8", int8, "this CPU has no VNNI, without which its sums of 8-bit products overflow"),
        (INT8_BF16, bf16 and int8, "this CPU lacks what one of the two needs"),
    )
    found += [Candidate(precision, "openvino") for precision, can, _ in kinds if can]
    return found, [f"no {precision} in OpenVINO: {reason}" for precision, can, reason in kinds if not can]
