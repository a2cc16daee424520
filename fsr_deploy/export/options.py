"""What a user may choose about an export."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from fsr_deploy.bundle import MIXED, TARGETS
from fsr_deploy.console import refuse_unknown
from fsr_deploy.errors import UsageError
from fsr_deploy.export.deploy import Io
from fsr_deploy.export.int8.options import Int8Options
from fsr_deploy.export.parity import BUDGETS, Budget
from fsr_deploy.export.tensorrt_config import PlanOptions

OLD_TARGETS = {"onnx": "onnxruntime", "cpu": "onnxruntime", "trt": "tensorrt"}  # other words for the same

# 17 is the newest that every supported TensorRT reads, 19 the first whose QuantizeLinear takes FP16, 22 the first whose
# convolution takes BF16.
UNTYPED_OPSET, TYPED_OPSET = 17, 19
DEFAULT_OPSETS = {"fp32": 17, "fp16": 17, "bf16": 22, "int8": 17, MIXED: TYPED_OPSET}


@dataclass(frozen=True)
class ExportOptions:
    """What to export and how; the command's options, one to one.

    ``model`` is a registered name or a checkpoint, ``batches`` are (min, opt, max). ``lr_size`` None is the size that
    the network is made for, or 16; ``opset`` None that of DEFAULT_OPSETS. ``target`` is what the graph is written for,
    one of bundle.TARGETS, or "auto": TensorRT where this machine can build a plan and for half precision, which is
    worth its name on a GPU only, ONNX Runtime elsewhere. ``with_plan`` builds a plan of a graph for TensorRT, or does
    not; None builds it where this machine can. ``faces`` is a folder to prove with, None for drawn faces. ``plan`` is
    how a plan is built, ``int8`` how INT8 is calibrated. ``repair`` returns the fewest modules to float where the
    precision is over its budget; without, such an export is refused. ``analyze`` ranks the modules by what the
    precision does to each. ``key`` is the checkpoint's entry to take, None an average of the weights where
    there is one.
    """

    model: str
    checkpoint: Path | None = None
    key: str | None = None
    precision: str = "fp32"
    lr_size: int | None = None
    batches: tuple[int, int, int] = (1, 8, 32)
    target: str = "auto"
    with_plan: bool | None = None
    io: Io = "uint8"
    opset: int | None = None
    faces: Path | None = None
    budget: Budget = BUDGETS["fp32"]
    plan: PlanOptions = field(default_factory=PlanOptions)
    int8: Int8Options = field(default_factory=Int8Options)
    repair: bool = True
    analyze: bool = False
    force: bool = False
    output: Path | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "target", OLD_TARGETS.get(self.target, self.target))
        refuse_unknown("--target", self.target, ("auto", *TARGETS))
        if self.with_plan and self.target == "onnxruntime":
            raise UsageError("--plan is for a graph that is written for TensorRT; leave --target onnxruntime out")


def fp16_part(options: ExportOptions) -> ExportOptions:
    """Return the options of the FP16 graph that an engine of INT8 and FP16 is made from.

    Raises UsageError for an opset that such an engine cannot have.
    """
    opset = options.opset or TYPED_OPSET
    if UNTYPED_OPSET < opset < TYPED_OPSET:
        raise UsageError(
            f"--opset {opset} has no INT8 and FP16 in one graph: leave it out, which is {TYPED_OPSET}, "
            f"or take {UNTYPED_OPSET} for TensorRT 8.6"
        )
    return replace(options, precision="fp16", opset=opset)
