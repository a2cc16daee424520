"""What may be asked of an export is the same from Python and from the shell, and is told before any work."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from fsr_deploy.bundle.info import PRECISIONS
from fsr_deploy.cli.export import main, precision_of
from fsr_deploy.errors import UsageError
from fsr_deploy.exporting.int8.ranges import CALIBRATORS as CALIBRATOR_FUNCTIONS
from fsr_deploy.exporting.options import CALIBRATORS, ExportOptions, Int8Options, fp16_part, in_precision
from fsr_deploy.exporting.proof.parity import BUDGETS, Budget
from fsr_deploy.exporting.tensorrt.config import PlanOptions
from fsr_deploy.runtime.folder.upscale import RunOptions
from fsr_deploy.runtime.open import parse_device
from fsr_deploy.train.loop import Cadence, TrainSettings
from fsr_deploy.train.recipes import Recipe


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_precision_has_its_own_budget_unless_another_one_is_given(precision: str) -> None:
    target = "openvino" if precision == "int8+bf16" else "auto"
    assert ExportOptions("aminet", precision=precision, target=target).budget == BUDGETS[precision]
    own = Budget(max_levels=3.0)
    assert ExportOptions("aminet", precision=precision, target=target, budget=own).budget == own


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "precision": (
        {"precision": "fp61"},
        "no precision is called 'fp61'; there are fp32, fp16, bf16, int8, int8+fp16, fp8",
    ),
    "target": ({"target": "cuda"}, "--target cuda: not one of auto, onnxruntime, openvino, tensorrt"),
    "io": ({"io": "int8"}, "--io int8: not one of uint8, float"),
    "falling batches": (
        {"batches": (8, 1, 32)},
        "--batch 8,1,32: not MIN,OPT,MAX in rising order from 1 to 4096, for example 1,8,32",
    ),
    "no batches": ({"batches": ()}, "--batch : not MIN,OPT,MAX in rising order from 1 to 4096, for example 1,8,32"),
    "half a batch": ({"batches": (1, 1.5, 2)}, "--batch 1,1.5,2: not MIN,OPT,MAX in rising order from 1 to 4096"),
    "opset": ({"opset": 9}, "opset 9 cannot be written; there are 17, 18, 19, 22"),
    **{
        f"opset {opset} of bf16": (
            {"opset": opset, "precision": "bf16"},
            f"bf16 needs opset 22 or newer and TensorRT 10: leave opset {opset} out or take fp16",
        )
        for opset in (17, 18, 19)
    },
    "opset of both": ({"opset": 18, "precision": "int8+fp16"}, "--opset 18 has no INT8 and FP16 in one graph"),
    **{
        f"opset {opset} of FP8": (
            {"opset": opset, "precision": "fp8+fp16"},
            f"fp8+fp16 needs opset 19 or newer and TensorRT 10: leave opset {opset} out or take int8+fp16",
        )
        for opset in (17, 18)
    },
    "FP8 for a CPU": (
        {"target": "onnx", "precision": "fp8+fp16"},
        "--fp8 is for a GPU with TensorRT; leave --target onnxruntime out, or take --int8",
    ),
    "levels of FP8": (
        {"int8": Int8Options(calibrator="entropy"), "precision": "fp8+fp16"},
        "--calibrator entropy is for the even steps of INT8; take max or percentile for --fp8",
    ),
    "plan": ({"target": "onnx", "with_plan": True}, "--plan is for a graph that is written for TensorRT"),
    **{
        f"lr_size {size}": ({"lr_size": size}, f"--lr-size {size}: give a whole number from 4 to 512")
        for size in (-3, 0, 3, 513, 1_000_000)
    },
    **{
        f"budget of {figure}": (
            {"budget": Budget(min_psnr_db=figure), "precision": "fp16"},
            f"--budget-db {figure}: give a number from 0 on",
        )
        for figure in (-5.0, float("nan"), float("inf"))
    },
    "calibrator": (
        {"int8": Int8Options(calibrator="entropy")},
        "--calibrator says how INT8 or FP8 is made; give --int8 or --fp8 too",
    ),
    "faces to calibrate on": (
        {"int8": Int8Options(images=8)},
        "--calib-images says how INT8 or FP8 is made; give --int8 or --fp8 too",
    ),
    "profile without a plan": (
        {"plan": PlanOptions(profiles=((1, 2, 4),)), "with_plan": False},
        "--profile says how a plan is built, and --no-plan builds none; leave one of them out",
    ),
    "timing cache of no plan": (
        {"plan": PlanOptions(timing_cache=Path("cache")), "target": "onnx"},
        "--timing-cache says how a plan is built, and --target onnxruntime builds none; leave one of them out",
    ),
    "FP16 for OpenVINO": (
        {"precision": "fp16", "target": "openvino"},
        "--fp16 is for a GPU: leave --target openvino out, or take --bf16 or --int8",
    ),
    "floats for OpenVINO": ({"io": "float", "target": "openvino"}, "--io float: OpenVINO proves whole faces; leave it"),
    "INT8 and BF16": (
        {"precision": "int8+bf16"},
        "--int8 --bf16 is for OpenVINO on a CPU: add --target openvino, or take --int8 --fp16",
    ),
    "plan of OpenVINO": (
        {"target": "openvino", "with_plan": True},
        "--plan is for a graph that is written for TensorRT; leave --target openvino out",
    ),
    "calibration": (
        {"int8": Int8Options(calib=Path("photos"))},
        "--calib says how INT8 or FP8 is made; give --int8 or --fp8 too",
    ),
    "analysis": ({"analyze": True}, "--analyze and --no-repair are about a reduced precision; give --fp16, --bf16, --"),
    "repair": ({"repair": False}, "--analyze and --no-repair are about a reduced precision; give --fp16, --bf16, --"),
}


@pytest.mark.parametrize(("given", "message"), WRONG.values(), ids=WRONG.keys())
def test_what_cannot_be_is_refused_from_python_as_from_the_shell(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        ExportOptions("aminet", **given)
    assert str(caught.value).startswith(message)
    if given.keys() == {"precision"}:  # the shell has a flag for each
        return
    result = CliRunner().invoke(main, ["aminet", *_arguments(given)])
    assert result.exit_code == 2
    assert result.stderr.strip().partition("error: ")[2] == str(caught.value)


def _arguments(given: dict[str, Any]) -> list[str]:
    """Return options of the command that say the same."""
    found = []
    for name, value in given.items():
        if name == "precision":
            found += [f"--{part}" for part in value.split("+")]
        elif name == "batches":
            found += ["--batch", ",".join(map(str, value))]
        elif name == "int8":
            plain = Int8Options()
            found += ["--calib", str(value.calib)] if value.calib else []
            found += ["--calibrator", value.calibrator] if value.calibrator != plain.calibrator else []
            found += ["--calib-images", str(value.images)] if value.images != plain.images else []
        elif name == "plan":
            found += [word for low, best, high in value.profiles for word in ("--profile", f"{low},{best},{high}")]
            found += ["--timing-cache", str(value.timing_cache)] if value.timing_cache else []
        elif name == "budget":
            found += ["--budget-db", str(value.min_psnr_db)]
        elif name == "with_plan":
            found.append("--plan" if value else "--no-plan")
        elif name == "analyze":
            found.append("--analyze")
        elif name == "repair":
            found.append("--no-repair")
        else:
            found += [f"--{name.replace('_', '-')}", str(value)]
    return found


def training(**given: Any) -> TrainSettings:
    return TrainSettings(**{"model": "aminet", "recipe": Recipe(), "data": "faces:4", "val": "faces:4", **given})


WRONG_TYPES: dict[str, tuple[Callable[..., Any], dict[str, Any], str]] = {
    "half a pixel": (ExportOptions, {"lr_size": 1.5}, "--lr-size 1.5: give a whole number from 4 to 512"),
    "pixels as text": (ExportOptions, {"lr_size": "16"}, "--lr-size 16: give a whole number from 4 to 512"),
    "a flag as text": (ExportOptions, {"force": "no"}, "--force 'no': give True or False"),
    "a plan as text": (ExportOptions, {"with_plan": "yes"}, "--plan 'yes': give True or False"),
    "one batch and a half": (ExportOptions, {"batches": 1.5}, "--batch 1.5: not MIN,OPT,MAX in rising order"),
    "a number as path": (ExportOptions, {"checkpoint": 3}, "--checkpoint 3: give a path"),
    "a number as key": (ExportOptions, {"key": 3}, "--key 3: give the name of an entry"),
    "a number as budget": (ExportOptions, {"budget": 50}, "budget 50: give a Budget"),
    "no plan options": (ExportOptions, {"plan": None}, "plan None: give PlanOptions"),
    "no INT8 options": (ExportOptions, {"int8": {}}, "int8 {}: give Int8Options"),
    "an opset with a point": (ExportOptions, {"opset": 17.0}, "opset 17.0 cannot be written; there are 17, 18, 19, 22"),
    "half a face": (Int8Options, {"images": 1.5}, "--calib-images 1.5: give a whole number from 1 on"),
    "run on a maybe": (RunOptions, {"overwrite": "no"}, "--overwrite 'no': give True or False"),
    "a device by number": (parse_device, {"device": 0}, "no device is called 0; the devices are: auto, cpu, cuda"),
    "training on nothing": (training, {"limit": 0}, "--limit 0: give a whole number from 1 on"),
    "validation on nothing": (training, {"val_limit": -1}, "--val-limit -1: give a whole number from 1 on"),
    "training on tiny faces": (training, {"lr_size": 4}, "--lr-size 4: give a whole number from 8 on"),
    "a seed below 0": (training, {"seed": -1}, "--seed -1: give a whole number from 0 on"),
    "an unknown layout": (training, {"layout": "x"}, "no layout is called 'x'"),
    "a key of nothing": (training, {"key": "ema"}, "--key names an entry of a checkpoint; give --checkpoint too"),
    "never saved": (Cadence, {"save_every": 0}, "--save-every 0: give a whole number from 1 on"),
    "fewer than no workers": (Cadence, {"workers": -1}, "--workers -1: give a whole number from 0 on"),
    "half a step": (Recipe, {"steps": 1.5}, "--steps 1.5: give a whole number from 1 on"),
    "a rate as text": (Recipe, {"lr": "fast"}, "--lr 'fast': give a number"),
}


@pytest.mark.parametrize(("kind", "given", "message"), WRONG_TYPES.values(), ids=WRONG_TYPES.keys())
def test_what_cannot_be_is_a_sentence_from_python_in_every_kind_of_options(
    kind: Callable[..., Any], given: dict[str, Any], message: str
) -> None:
    named = {"model": "aminet", **given} if kind is ExportOptions else given
    with pytest.raises(UsageError) as caught:
        kind(**named)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("flags", "precision"),
    [
        ([], "fp32"),
        (["bf16"], "bf16"),
        (["int8"], "int8"),
        (["fp16", "int8"], "int8+fp16"),
        (["fp8"], "fp8+fp16"),
        (["fp16", "fp8"], "fp8+fp16"),
    ],
)
def test_flags_together_are_one_precision(flags: list[str], precision: str) -> None:
    assert precision_of(**dict.fromkeys(flags, True)) == precision


@pytest.mark.parametrize("flags", [["fp16", "bf16"], ["int8", "fp8"], ["bf16", "fp8"], ["fp16", "int8", "fp8"]])
def test_flags_that_exclude_each_other_are_refused(flags: list[str]) -> None:
    result = CliRunner().invoke(main, ["aminet", *(f"--{flag}" for flag in flags)])
    assert result.exit_code == 2
    assert "exclude each other; only --fp16 goes with --int8 or --fp8" in result.stderr


def test_calibration_is_checked_before_it_is_needed() -> None:
    assert set(CALIBRATORS) == set(CALIBRATOR_FUNCTIONS)
    with pytest.raises(UsageError, match="--calibrator median: not one of max, percentile, entropy"):
        Int8Options(calibrator="median")
    with pytest.raises(UsageError, match="--calib-images 0: give a whole number from 1 on"):
        Int8Options(images=0)


@pytest.mark.parametrize(
    ("word", "target"), [("onnx", "onnxruntime"), ("cpu", "onnxruntime"), ("trt", "tensorrt"), ("auto", "auto")]
)
def test_earlier_words_for_a_target_are_understood(word: str, target: str) -> None:
    options = ExportOptions("aminet", target=word)
    assert options.target == target
    assert replace(options, opset=18).target == target


def test_the_graphs_beside_an_export_keep_its_size_and_budget_and_nothing_of_its_precision() -> None:
    options = ExportOptions("aminet", precision="int8+fp16", analyze=True, int8=Int8Options(calib=Path("photos")))
    assert in_precision(options, "fp32").budget == options.budget == BUDGETS["int8+fp16"]
    half = fp16_part(options)
    assert (half.precision, half.opset, half.batches) == ("fp16", 19, options.batches)
    assert fp16_part(replace(options, opset=17)).opset == 17


def test_wrong_options_are_told_before_pytorch_is_loaded() -> None:
    script = (
        "import sys\n"
        "from fsr_deploy.cli.export import main\n"
        "try:\n"
        "    main(['aminet', '--batch', '8,1,2'])\n"
        "finally:\n"
        "    print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stdout.strip() == "False"
