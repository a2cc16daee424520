"""A bundle that was proven with ONNX Runtime, run with OpenVINO: what fsr-run does before the first face."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fsr_deploy.bundle.info import REFERENCE_NAME, read_bundle, write_info
from fsr_deploy.errors import ParityError
from fsr_deploy.exporting.proof.first_use import prove_with_openvino
from fsr_deploy.runtime.backends.openvino import OpenVinoSession
from fsr_deploy.runtime.open import open_session
from tests.cli.runs import contents, error, fsr_run, succeed
from tests.cli.runs import here as here
from tests.engines import repeat_pixels, write_onnx
from tests.fakes.plans import lr_faces, write_bundle

pytest.importorskip("openvino")


@pytest.fixture(autouse=True)
def bundle(here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle beside the frames; the cache is empty."""
    monkeypatch.setenv("FSR_CACHE", str(here / "cache"))
    write_bundle(here / "bundle")
    return here / "bundle"


def make_wrong(bundle: Path, levels: int) -> None:
    """Let the eager model of a bundle have made other faces than its graph makes."""
    faces = lr_faces(8)
    wrong = np.clip(repeat_pixels(faces).astype(int) + levels, 0, 255).astype(np.uint8)
    np.savez_compressed(bundle / REFERENCE_NAME, lr=faces, sr=wrong)
    write_info(bundle, read_bundle(bundle).info)


def proofs(result: Any) -> list[str]:
    return [line for line in result.stderr.splitlines() if "proven with" in line]


def test_the_first_run_proves_it_and_says_so_in_one_line_and_the_next_runs_rely_on_it() -> None:
    (line,) = proofs(succeed("bundle", "faces", "-o", "out", "--backend", "openvino"))
    assert line.startswith("bundle/model.onnx: proven with OpenVINO 20")
    assert line.endswith(" (CPU, FP32) on this machine, 8 faces: equal, SSIM 1.00000, at most 0.00 levels off")
    assert proofs(succeed("bundle", "faces", "-o", "other", "--backend", "openvino")) == []
    assert len(proofs(succeed("bundle", "faces", "-o", "batches", "--backend", "openvino", "--batch", 3))) == 1


def test_a_bundle_over_its_budget_is_not_run_and_ends_with_5(bundle: Path) -> None:
    make_wrong(bundle, 3)
    for _ in range(2):
        result = fsr_run("bundle", "faces", "-o", "out", "--backend", "openvino")
        assert result.exit_code == 5
        assert error(result).startswith("bundle/model.onnx: the engine differs from the eager module")
        assert "off by up to 3.00 levels, the budget is at most 1" in error(result)
        assert error(result).endswith("--backend onnxruntime runs it as it was proven")
        assert not Path("out").exists()
    succeed("bundle", "faces", "-o", "out", "--backend", "onnxruntime")


@pytest.mark.parametrize("change", ["reference", "budget"])
def test_what_a_verdict_was_based_on_must_be_the_same(bundle: Path, change: str) -> None:
    succeed("bundle", "faces", "-o", "out", "--backend", "openvino")
    if change == "reference":
        make_wrong(bundle, 1)
    else:
        write_info(bundle, replace(read_bundle(bundle).info, budget={"max_levels": 0.5}))
    assert len(proofs(succeed("bundle", "faces", "-o", "other", "--backend", "openvino"))) == 1


def test_nothing_is_proven_twice_that_the_export_proved_with_openvino(bundle: Path) -> None:
    make_wrong(bundle, 3)
    row = {"engine": "OpenVINO 2025.0.0-1 (CPU, FP32)", "batch": 1}
    write_info(bundle, replace(read_bundle(bundle).info, parity=[row]))
    assert proofs(succeed("bundle", "faces", "-o", "out")) == []


def test_a_graph_without_a_bundle_has_nothing_to_be_proven_with() -> None:
    assert proofs(succeed("model.onnx", "faces", "-o", "out", "--backend", "openvino")) == []


def test_without_reference_faces_it_is_not_run(bundle: Path) -> None:
    (bundle / REFERENCE_NAME).unlink()
    write_info(bundle, read_bundle(bundle).info)
    result = fsr_run("bundle", "faces", "-o", "out", "--backend", "openvino")
    assert (result.exit_code, error(result)) == (4, "bundle: the bundle has no reference.npz")


class InBf16(OpenVinoSession):
    """A session that says that it computed in BF16, and is so many levels off."""

    levels = 0

    def upscale(self, batch: Any) -> Any:
        return np.clip(super().upscale(batch).astype(int) + self.levels, 0, 255).astype(np.uint8)


@pytest.mark.parametrize(("levels", "kept"), [(2, True), (4, False)])
def test_bf16_is_held_to_the_budget_of_bf16(bundle: Path, levels: int, kept: bool) -> None:
    """2 levels are 42.1 dB, over FP32's budget of one level; 4 are 36.1 dB, below the 40 of BF16."""
    session = open_session(bundle, backend="openvino")
    session.__class__ = InBf16
    assert isinstance(session, InBf16)
    session.levels = levels
    session.info = replace(session.info, precision="bf16")
    if kept:
        prove_with_openvino(session, 1)
    else:
        with pytest.raises(ParityError, match=r"36\.\d\d dB, the budget is at least 40 dB"):
            prove_with_openvino(session, 1)


def test_faces_of_another_back_end_are_made_again_and_those_of_the_same_are_not() -> None:
    write_onnx(Path("model.onnx"))
    for backend, done in (("onnxruntime", 12), ("openvino", 12), ("openvino", 0), ("onnxruntime", 12)):
        result = succeed("model.onnx", "faces", "-o", "out", "--backend", backend)
        assert f"out: {done} done" in result.stderr
    assert len(contents("out")) == 12
