"""What a user may choose about an export."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from numbers import Real
from pathlib import Path
from typing import cast

from fsr_deploy._util.sizes import Size, checked_size
from fsr_deploy.bundle.info import (
    INT8_BF16,
    IO_KINDS,
    MAX_LR_SIZE,
    MIN_LR_SIZE,
    MIXED,
    MIXED_FP8,
    PRECISIONS,
    QUANTISED,
    TARGETS,
    Io,
)
from fsr_deploy.errors import UsageError, refuse_outside, refuse_type, refuse_unknown
from fsr_deploy.exporting.proof.parity import BUDGETS, Budget
from fsr_deploy.exporting.tensorrt.config import PlanOptions, batch_range
from fsr_deploy.exporting.tensorrt.gpus import check_gpus

CALIBRATORS = ("max", "percentile", "entropy")


@dataclass(frozen=True)
class Int8Options:
    """``calib`` is a folder of faces to calibrate on, None for drawn ones, ``images`` how many of them.

    ``calibrator`` is one of CALIBRATORS. Raises UsageError for another one, and for less than one face.
    """

    calib: Path | None = None
    calibrator: str = "max"
    images: int = 64

    def __post_init__(self) -> None:
        refuse_unknown("--calibrator", self.calibrator, CALIBRATORS)
        refuse_outside("--calib-images", self.images, 1)
        if self.calib is not None:
            refuse_type("--calib", self.calib, (str, os.PathLike), "the path of a folder")
            object.__setattr__(self, "calib", Path(self.calib))


OLD_TARGETS = {"onnx": "onnxruntime", "cpu": "onnxruntime", "trt": "tensorrt"}  # other words for the same

# 17 is the newest that every supported TensorRT reads, 18 the first that PyTorch writes, 19 the first whose
# QuantizeLinear takes FP16 and gives FP8, 22 the first whose convolution takes BF16.
UNTYPED_OPSET, EXPORT_OPSET, TYPED_OPSET, BF16_OPSET = OPSETS = (17, 18, 19, 22)
DEFAULT_OPSETS = {
    **dict.fromkeys(("fp32", "fp16", "int8", INT8_BF16), UNTYPED_OPSET),
    **dict.fromkeys((MIXED, MIXED_FP8), TYPED_OPSET),
    "bf16": BF16_OPSET,
}
OF_OPENVINO = ("fp32", "bf16", "int8", INT8_BF16)  # the precisions that it computes fast on a CPU

OF_THE_PRECISION = cast(Budget, None)  # none is given; an ExportOptions always has one


@dataclass(frozen=True)
class ExportOptions:
    """What to export and how; the command's options, one to one.

    ``model`` is a registered name or a checkpoint, ``batches`` are (min, opt, max), or one number. ``lr_size`` is the
    side of LR faces or their (height, width), None the size that the network is made for, or 16; ``opset`` None that of
    DEFAULT_OPSETS. ``target`` is what the graph is written for, one of bundle.TARGETS, or "auto": TensorRT where this
    machine can build a plan and for half precision, which is worth its name on a GPU only, ONNX Runtime elsewhere;
    "openvino" is for OpenVINO on a CPU, which proves it; "rtx" is TensorRT's graph and a plan that TensorRT for RTX
    compiles, on any machine. ``check_tensorrt`` has that compiler tell what it makes of the graph. ``with_plan`` builds
    a plan of a graph for TensorRT, or does not; None builds it where this machine can. ``faces`` is a folder to prove
    with, None for drawn faces. ``plan`` is how a plan is built, ``int8`` how INT8 or FP8 is calibrated. ``repair``
    returns the fewest modules to float where the precision is over its budget; without, such an export is refused.
    ``analyze`` ranks the modules by what the precision does to each. ``key`` is the checkpoint's entry to take, None an
    average of the weights where there is one. ``budget`` None is that of the precision, parity.BUDGETS.

    Raises UsageError for values that do not exist or contradict each other, as the command does.
    """

    model: str
    checkpoint: Path | None = None
    key: str | None = None
    precision: str = "fp32"
    lr_size: Size | None = None
    batches: tuple[int, int, int] = (1, 8, 32)
    target: str = "auto"
    with_plan: bool | None = None
    io: Io = "uint8"
    opset: int | None = None
    faces: Path | None = None
    budget: Budget = OF_THE_PRECISION
    plan: PlanOptions = field(default_factory=PlanOptions)
    int8: Int8Options = field(default_factory=Int8Options)
    repair: bool = True
    analyze: bool = False
    check_tensorrt: bool = False
    force: bool = False
    output: Path | None = None

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise UsageError(f"no precision is called {self.precision!r}; there are {', '.join(PRECISIONS)}")
        _check_types(self)
        batches = self.batches if isinstance(self.batches, tuple | list) else (self.batches,)
        paths = {name: getattr(self, name) for name in PATHS}
        settled = {
            **{name: Path(path) for name, path in paths.items() if path is not None},
            "batches": batch_range("--batch", ",".join(map(str, batches))),
            "target": OLD_TARGETS.get(self.target, self.target),
            "budget": self.budget or BUDGETS[self.precision],
        }
        for name, value in settled.items():
            object.__setattr__(self, name, value)
        refuse_unknown("--target", self.target, ("auto", *TARGETS, "rtx"))
        refuse_unknown("--io", self.io, IO_KINDS)
        if self.lr_size is not None:
            size = checked_size("--lr-size", self.lr_size, MIN_LR_SIZE, MAX_LR_SIZE)
            object.__setattr__(self, "lr_size", size)
        _check_budget(self.budget)
        if self.opset is not None:
            check_opset(self.opset, self.precision)
        if self.target == "rtx":
            object.__setattr__(self, "plan", replace(self.plan, flavour="rtx"))
        check_gpus(self.plan.gpus, self.precision)
        for_cpu = self.target in FOR_A_CPU
        if self.with_plan and for_cpu:
            raise UsageError(f"--plan is for a graph that is written for TensorRT; leave --target {self.target} out")
        if self.check_tensorrt and for_cpu:
            raise UsageError(f"--check-tensorrt compiles the graph for TensorRT; leave --target {self.target} out")
        _check_openvino(self)
        if self.precision not in QUANTISED and (given := changed(self.int8, OPTIONS_OF_INT8)):
            raise UsageError(f"{given[0]} says how INT8 or FP8 is made; give --int8 or --fp8 too")
        if self.precision == MIXED_FP8:
            _check_fp8(self)
        if (self.with_plan is False or for_cpu) and (given := changed(self.plan, OPTIONS_OF_PLAN)):
            why = "--no-plan" if self.with_plan is False else f"--target {self.target}"
            raise UsageError(f"{given[0]} says how a plan is built, and {why} builds none; leave one of them out")
        if self.precision == "fp32" and (self.analyze or not self.repair):
            raise UsageError(
                "--analyze and --no-repair are about a reduced precision; give --fp16, --bf16, --int8 or --fp8 too"
            )


PATHS = ("checkpoint", "faces", "output")
FOR_A_CPU = ("onnxruntime", "openvino")
OPTIONS_OF_INT8 = {"calib": "--calib", "calibrator": "--calibrator", "images": "--calib-images"}
OPTIONS_OF_PLAN = {
    "profiles": "--profile",
    "workspace_gib": "--workspace",
    "level": "--level",
    "tiling": "--tiling",
    "hardware": "--hardware",
    "version_compatible": "--version-compatible",
    "timing_cache": "--timing-cache",
    "device": "--device",
}
OPTIONS_OF_BUDGET = {"min_psnr_db": "--budget-db", "max_levels": "--budget-levels", "max_loss_db": "--budget-loss"}


def changed(options: Int8Options | PlanOptions, names: Mapping[str, str]) -> list[str]:
    """Return the command's names of those options that are not as they are by themselves."""
    plain = type(options)()
    return [option for name, option in names.items() if getattr(options, name) != getattr(plain, name)]


def _check_types(options: ExportOptions) -> None:
    """Raise UsageError for values of another type than the shell can give."""
    for name in PATHS:
        refuse_type(f"--{name}", getattr(options, name), (str, os.PathLike, type(None)), "a path")
    refuse_type("--key", options.key, (str, type(None)), "the name of an entry")
    for name in ("with_plan", "repair", "analyze", "force"):
        given = getattr(options, name)
        if given is not None or name != "with_plan":
            refuse_type("--plan" if name == "with_plan" else f"--{name}", given, bool, "True or False")
    refuse_type("budget", options.budget, (Budget, type(OF_THE_PRECISION)), "a Budget")
    refuse_type("plan", options.plan, PlanOptions, "PlanOptions")
    refuse_type("int8", options.int8, Int8Options, "Int8Options")


def _check_budget(budget: Budget) -> None:
    """Raise UsageError for figures that no engine, or every engine, would keep."""
    for field_ in fields(budget):
        value = getattr(budget, field_.name)
        is_number = isinstance(value, Real) and not isinstance(value, bool)
        if value is not None and not (is_number and 0 <= value < math.inf):
            raise UsageError(f"{OPTIONS_OF_BUDGET[field_.name]} {value}: give a number from 0 on")


def check_opset(opset: int, precision: str) -> None:
    """Raise UsageError for an opset that is not written, or not in this precision."""
    if not isinstance(opset, int) or opset not in OPSETS:
        raise UsageError(f"opset {opset} cannot be written; there are {', '.join(map(str, OPSETS))}")
    if precision == "bf16" and opset < BF16_OPSET:
        raise UsageError(
            f"bf16 needs opset {BF16_OPSET} or newer and TensorRT 10: leave opset {opset} out or take fp16"
        )
    if precision == MIXED and UNTYPED_OPSET < opset < TYPED_OPSET:
        raise UsageError(
            f"--opset {opset} has no INT8 and FP16 in one graph: leave it out, which is {TYPED_OPSET}, "
            f"or take {UNTYPED_OPSET} for TensorRT 8.6"
        )
    if precision == MIXED_FP8 and opset < TYPED_OPSET:
        raise UsageError(
            f"fp8+fp16 needs opset {TYPED_OPSET} or newer and TensorRT 10: leave opset {opset} out or take int8+fp16"
        )


def _check_fp8(options: ExportOptions) -> None:
    """Raise UsageError for what FP8 is not made for or from."""
    if options.target in FOR_A_CPU:
        raise UsageError(f"--fp8 is for a GPU with TensorRT; leave --target {options.target} out, or take --int8")
    if options.int8.calibrator == "entropy":
        raise UsageError("--calibrator entropy is for the even steps of INT8; take max or percentile for --fp8")


def _check_openvino(options: ExportOptions) -> None:
    """Raise UsageError for what OpenVINO is not for, and for what is for OpenVINO only."""
    if options.target != "openvino":
        if options.precision == INT8_BF16:
            raise UsageError("--int8 --bf16 is for OpenVINO on a CPU: add --target openvino, or take --int8 --fp16")
        return
    if options.precision not in OF_OPENVINO:
        flags = " ".join(f"--{part}" for part in options.precision.split("+"))
        raise UsageError(f"{flags} is for a GPU: leave --target openvino out, or take --bf16 or --int8")
    if options.io != "uint8":
        raise UsageError(f"--io {options.io}: OpenVINO proves whole faces; leave it or --target openvino out")


def in_precision(options: ExportOptions, precision: str, opset: int | None = None) -> ExportOptions:
    """Return the options of the bare graph of the same network in another precision."""
    return replace(
        options,
        precision=precision,
        opset=opset,
        analyze=False,
        repair=True,
        int8=Int8Options(),
        plan=PlanOptions(flavour=options.plan.flavour),
    )


def fp16_part(options: ExportOptions) -> ExportOptions:
    """Return the options of the FP16 graph that an engine of INT8 or FP8 and FP16 is made from."""
    return in_precision(options, "fp16", options.opset or TYPED_OPSET)
