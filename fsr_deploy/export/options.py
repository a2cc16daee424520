"""What a user may choose about an export."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from fsr_deploy.export.deploy import Io
from fsr_deploy.export.int8.options import Int8Options
from fsr_deploy.export.parity import BUDGETS, Budget
from fsr_deploy.export.tensorrt_config import PlanOptions

# 17 is the newest that every supported TensorRT reads, 22 the first whose convolution takes BF16.
DEFAULT_OPSETS = {"fp32": 17, "fp16": 17, "bf16": 22, "int8": 17}


@dataclass(frozen=True)
class ExportOptions:
    """What to export and how; the command's options, one to one.

    ``model`` is a registered name or a checkpoint, ``batches`` are (min, opt, max). ``lr_size`` None is the size that
    the network is made for, or 16; ``opset`` None that of DEFAULT_OPSETS. ``target`` "onnx" writes the graph for CPUs,
    "trt" also builds the plan, "auto" builds it where there are a GPU and TensorRT. ``faces`` is a folder to prove
    with, None for drawn faces. ``plan`` is how a plan is built, ``int8`` how INT8 is calibrated. ``repair`` returns
    the fewest modules to float where the precision is over its budget; without, such an export is refused. ``analyze``
    ranks the modules by what the precision does to each.
    """

    model: str
    checkpoint: Path | None = None
    precision: str = "fp32"
    lr_size: int | None = None
    batches: tuple[int, int, int] = (1, 8, 32)
    target: str = "auto"
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
