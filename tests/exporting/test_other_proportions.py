"""An engine for pictures that are not square, from its export to its use."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fsr_deploy.bundle.info import REFERENCE_NAME, Bundle
from fsr_deploy.bundle.reference import read_reference
from fsr_deploy.errors import UsageError
from fsr_deploy.exporting.export import run_export
from fsr_deploy.exporting.options import ExportOptions
from fsr_deploy.exporting.tensorrt.rebuild import export_again
from fsr_deploy.images.codec import read_frame, write_frame
from fsr_deploy.models.eager import Eager
from fsr_deploy.models.source import load_source
from fsr_deploy.runtime.open import open_session
from fsr_deploy.serving.triton_config import CONFIG_NAME, read_config
from fsr_deploy.serving.triton_repository import TritonOptions, write_triton
from tests import networks
from tests.cli.runs import succeed
from tests.serving.test_python_model import start

LR, SR = (8, 12), (64, 96)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    with pytest.MonkeyPatch.context() as patch:
        networks.register(patch)
        output = tmp_path_factory.mktemp("wide") / "pixel"
        return run_export(
            ExportOptions("pixel", lr_size=LR, batches=(1, 1, 2), target="onnxruntime", with_plan=False, output=output)
        )


def test_its_record_and_its_reference_faces_have_height_and_width(bundle: Bundle) -> None:
    info = bundle.info
    assert (info.lr_size, info.lr_shape, info.sr_shape) == (LR, LR, SR)
    assert (info.inputs[0].shape, info.outputs[0].shape) == (("N", *LR, 3), ("N", *SR, 3))
    given, expected = read_reference(bundle.file(REFERENCE_NAME), info)
    assert given.shape[1:3] == LR and expected.shape[1:3] == SR and given.std() > 10
    assert "--lr-size 8,12" in export_again(bundle)
    assert "12x8 to 96x64" in bundle.file("report.html").read_text()


def test_it_computes_what_the_network_does(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    networks.register(monkeypatch)
    lr = np.random.default_rng(0).integers(0, 256, (3, *LR, 3), np.uint8)
    sr = open_session(bundle.path, "cpu").upscale(lr)
    expected = Eager(load_source("pixel", lr_size=LR).network, 8).run(lr)
    assert sr.shape == (3, *SR, 3) and np.abs(sr.astype(int) - expected).max() <= 1


def test_a_picture_goes_through_it_in_tiles_of_its_size(bundle: Bundle, tmp_path: Path) -> None:
    picture = np.random.default_rng(1).integers(0, 256, (20, 31, 3), np.uint8)
    write_frame(tmp_path / "in.png", picture)
    succeed(bundle.path, tmp_path / "in.png", "-o", tmp_path / "out.png", "--tile", "8,12", "--device", "cpu")
    assert read_frame(tmp_path / "out.png").shape == (160, 248, 3)


def test_triton_is_told_height_and_width_and_serves_it(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = write_triton(bundle.path, tmp_path / "models", TritonOptions())
    config = read_config(model / CONFIG_NAME)
    assert (list(config.input[0].dims), list(config.output[0].dims)) == ([*LR, 3], [*SR, 3])
    assert {len(path.read_bytes()) for path in (model / "warmup").iterdir()} == {LR[0] * LR[1] * 3}
    faces = np.random.default_rng(2).integers(0, 256, (2, *LR, 3), np.uint8)
    served = start(model, monkeypatch)
    (answer,) = served.execute([{"lr": faces}])
    served.finalize()
    assert np.array_equal(answer["sr"], open_session(bundle.path, "cpu").upscale(faces))


def test_a_network_that_is_built_for_one_size_takes_squares_only(monkeypatch: pytest.MonkeyPatch) -> None:
    networks.register(monkeypatch)
    with pytest.raises(UsageError, match="--lr-size 8,16: sized is built for square LR faces; give one number"):
        load_source("sized", lr_size=(8, 16))
