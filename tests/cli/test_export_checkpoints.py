"""fsr-export and the checkpoints of other trainers: the average is exported, and the bundle says where it lay."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from fsr_deploy.bundle.info import read_bundle
from fsr_deploy.cli.export import main
from fsr_deploy.exporting.proof.reference import lr_faces
from fsr_deploy.models.eager import Eager
from fsr_deploy.runtime.open import open_session
from tests.networks import Pixel, register, weights

RAW = {name: tensor + 0.1 for name, tensor in weights().items()}


@pytest.fixture(autouse=True)
def networks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    register(monkeypatch)
    monkeypatch.chdir(tmp_path)


def export(*arguments: object) -> Any:
    command = ["pixel", *arguments, "--lr-size", "4", "--batch", "1", "--target", "onnx"]
    return CliRunner().invoke(main, [str(argument) for argument in command])


def levels_off(bundle: str, expected: dict[str, torch.Tensor]) -> int:
    """Return by how many levels a bundle's faces differ from those of a network with the weights expected."""
    network = Pixel()
    network.load_state_dict(expected)
    faces = lr_faces(None, 1, 4, 8)
    found = open_session(bundle).upscale(faces).astype(int)
    return int(np.abs(found - Eager(network, 8).run(faces)).max())


@pytest.mark.parametrize(
    ("key", "entry", "expected"), [(None, "state_dict_ema", weights()), ("state_dict", "state_dict", RAW)]
)
def test_the_average_is_exported_unless_another_entry_is_asked_for(
    key: str | None, entry: str, expected: dict[str, torch.Tensor]
) -> None:
    torch.save({"epoch": 3, "state_dict": RAW, "state_dict_ema": weights(), "metric": 1.0}, "timm.pth.tar")
    result = export("--checkpoint", "timm.pth.tar", "-o", "out", "--json", *(("--key", key) if key else ()))
    assert result.exit_code == 0, result.output
    assert ("timm.pth.tar: took the averaged weights in state_dict_ema" in result.stderr) == (key is None)
    assert read_bundle(Path("out")).info.checkpoint_entry == json.loads(result.stdout)["checkpoint_entry"] == entry
    assert f"entry {entry}" in Path("out/report.html").read_text()
    assert levels_off("out", expected) <= 1
    assert levels_off("out", weights() if key else RAW) > 1


@pytest.mark.parametrize(
    ("content", "arguments", "code", "message"),
    [
        ({"a": RAW, "b": weights()}, (), 4, "w.pth: several entries hold weights of pixel: a, b; name one with --key,"),
        ({"a": RAW, "b": weights()}, ("--key", "c"), 2, "w.pth: --key c: no entry of that name; it has a, b"),
    ],
)
def test_what_is_not_clear_is_asked_for_and_nothing_is_written(
    content: object, arguments: tuple[str, ...], code: int, message: str
) -> None:
    torch.save(content, "w.pth")
    result = export("--checkpoint", "w.pth", "-o", "out", *arguments)
    assert result.exit_code == code
    assert message in result.stderr and not Path("out").exists()


def test_a_key_without_a_checkpoint_is_refused() -> None:
    result = export("--key", "ema")
    assert result.exit_code == 2 and "--key names an entry of a checkpoint; give --checkpoint too" in result.stderr
