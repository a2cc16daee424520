"""What may be asked of an export is the same from Python and from the shell, and is told before any work."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from fsr_deploy.bundle.info import PRECISIONS
from fsr_deploy.cli.export import main
from fsr_deploy.errors import UsageError
from fsr_deploy.exporting.int8.ranges import CALIBRATORS as CALIBRATOR_FUNCTIONS
from fsr_deploy.exporting.options import CALIBRATORS, ExportOptions, Int8Options, fp16_part, in_precision
from fsr_deploy.exporting.proof.parity import BUDGETS, Budget


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_precision_has_its_own_budget_unless_another_one_is_given(precision: str) -> None:
    assert ExportOptions("aminet", precision=precision).budget == BUDGETS[precision]
    own = Budget(max_levels=3.0)
    assert ExportOptions("aminet", precision=precision, budget=own).budget == own


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "precision": ({"precision": "fp61"}, "no precision is called 'fp61'; there are fp32, fp16, bf16, int8, int8+fp16"),
    "target": ({"target": "cuda"}, "--target cuda: not one of auto, onnxruntime, tensorrt"),
    "io": ({"io": "int8"}, "--io int8: not one of uint8, float"),
    "falling batches": (
        {"batches": (8, 1, 32)},
        "--batch 8,1,32: not MIN,OPT,MAX in rising order from 1 to 4096, for example 1,8,32",
    ),
    "no batches": ({"batches": ()}, "--batch : not MIN,OPT,MAX in rising order from 1 to 4096, for example 1,8,32"),
    "half a batch": ({"batches": (1, 1.5, 2)}, "--batch 1,1.5,2: not MIN,OPT,MAX in rising order from 1 to 4096"),
    "opset": ({"opset": 9}, "opset 9 cannot be written; there are 17, 18, 19, 22"),
    "opset of bf16": ({"opset": 17, "precision": "bf16"}, "bf16 needs opset 22 or newer and TensorRT 10"),
    "opset of both": ({"opset": 18, "precision": "int8+fp16"}, "--opset 18 has no INT8 and FP16 in one graph"),
    "plan": ({"target": "onnx", "with_plan": True}, "--plan is for a graph that is written for TensorRT"),
    "calibration": ({"int8": Int8Options(calib=Path("photos"))}, "--calib says how INT8 is made; give --int8 too"),
    "analysis": ({"analyze": True}, "--analyze and --no-repair are about a reduced precision; give --fp16, --bf16 or"),
    "repair": ({"repair": False}, "--analyze and --no-repair are about a reduced precision; give --fp16, --bf16 or"),
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
            found += ["--calib", str(value.calib)]
        elif name in ("with_plan", "analyze"):
            found.append({"with_plan": "--plan", "analyze": "--analyze"}[name])
        elif name == "repair":
            found.append("--no-repair")
        else:
            found += [f"--{name}", str(value)]
    return found


def test_calibration_is_checked_before_it_is_needed() -> None:
    assert set(CALIBRATORS) == set(CALIBRATOR_FUNCTIONS)
    with pytest.raises(UsageError, match="--calibrator median: not one of max, percentile, entropy"):
        Int8Options(calibrator="median")
    with pytest.raises(UsageError, match="--calib-images 0: ranges are measured on at least one face"):
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
