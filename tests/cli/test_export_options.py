"""Options of fsr-export that contradict each other, do not exist or have no effect, each in one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from fsr_deploy.cli.export import main
from tests.networks import register

SMALL = ("--lr-size", "4", "--batch", "1,2,3")


@pytest.fixture(autouse=True)
def networks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    register(monkeypatch)
    monkeypatch.chdir(tmp_path)


def export(*arguments: object) -> Any:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def error(result: Any) -> str:
    """Return the message that a failed command ended with."""
    return result.stderr.partition("error: ")[2].strip()


USAGE = {
    "no model": ((), "name a MODEL or a CHECKPOINT to export; --list shows the models"),
    "unknown model": (("aminett",), "no model is called 'aminett'; the models are: "),
    "two precisions": (
        ("pixel", "--fp16", "--bf16"),
        "--fp16 and --bf16 exclude each other; only --fp16 goes with --int8 or --fp8",
    ),
    "falling batches": (
        ("pixel", "--batch", "8,1,32"),
        "--batch 8,1,32: not MIN,OPT,MAX in rising order from 1 to 4096",
    ),
    "two batches": (("pixel", "--batch", "1,8"), "--batch 1,8: not MIN,OPT,MAX in rising order from 1 to 4096"),
    "no batch": (("pixel", "--batch", ","), "--batch ,: not MIN,OPT,MAX in rising order from 1 to 4096"),
    "zero batch": (("pixel", "--batch", "0"), "--batch 0: not MIN,OPT,MAX in rising order from 1 to 4096"),
    "target": (("pixel", "--target", "cuda"), "--target cuda: not one of auto, onnxruntime, openvino, tensorrt"),
    "plan of a graph for ONNX Runtime": (
        ("pixel", "--target", "onnx", "--plan"),
        "--plan is for a graph that is written for TensorRT; leave --target onnxruntime out",
    ),
    "target of a bundle": (
        ("--rebuild", "bundle", "--target", "tensorrt"),
        "--rebuild takes a bundle as it is; leave --target out",
    ),
    "io": (("pixel", "--io", "int8"), "--io int8: not one of uint8, float"),
    "opset": (("pixel", "--opset", "9", *SMALL), "opset 9 cannot be written; there are 17, 18, 19, 22"),
    "two checkpoints": (("a.pth", "--checkpoint", "b.pth"), "a.pth is a checkpoint already; name a model with "),
}


@pytest.mark.parametrize(("arguments", "message"), USAGE.values(), ids=USAGE.keys())
def test_wrong_options_are_told(arguments: tuple[str, ...], message: str) -> None:
    result = export(*arguments)
    assert result.exit_code == 2
    assert error(result).startswith(message)


def successful(*arguments: object) -> Any:
    result = export(*arguments)
    assert result.exit_code == 0, result.output
    return result


def test_options_without_an_effect_on_this_machine_are_named(no_driver: None) -> None:
    lines = successful("pixel", "--fp16", "--profile", "1,2,3", "--level", "2", "--budget-loss", "0.5", *SMALL).stderr
    assert "warning: --profile, --level: about the plan, which was not built here; give it to --rebuild too" in lines
    assert "warning: --budget-loss holds for drawn faces and trained weights, whose truth is known; nothing" in lines
    plain = successful("pixel", "--fp16", "-o", "plain", *SMALL).stderr
    assert "--budget-loss" not in plain and "give it to --rebuild too" not in plain
