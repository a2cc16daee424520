from pathlib import Path

import numpy as np
import pytest

from fsr_deploy.errors import InputError
from fsr_deploy.runtime.backends.openvino import OpenVinoSession
from tests.engines import repeat_pixels, write_onnx
from tests.fakes.plans import lr_faces, write_bundle

pytest.importorskip("openvino")


def test_it_computes_what_the_graph_says(tmp_path: Path) -> None:
    write_bundle(tmp_path)
    session = OpenVinoSession(tmp_path / "model.onnx")
    for count in (1, 3):
        assert np.array_equal(session.upscale(lr_faces(count)), repeat_pixels(lr_faces(count)))
    info = session.info
    assert info.engine.startswith("OpenVINO 20")
    assert (info.device, info.precision, info.lr_shape, info.sr_shape) == ("cpu", "fp32", (4, 4), (32, 32))
    assert info.best_batch == 4


def test_a_result_stays_when_the_next_batch_runs(tmp_path: Path) -> None:
    session = OpenVinoSession(write_onnx(tmp_path / "model.onnx"))
    first = session.upscale(lr_faces(2, seed=1))
    session.upscale(lr_faces(2, seed=2))
    assert np.array_equal(first, repeat_pixels(lr_faces(2, seed=1)))


def test_fp32_stays_fp32(tmp_path: Path) -> None:
    session = OpenVinoSession(write_onnx(tmp_path / "model.onnx"))
    assert session._model.get_property("INFERENCE_PRECISION_HINT").to_string() == "f32"


@pytest.mark.parametrize("shape", [(1, 5, 4, 3), (4, 4, 3)])
def test_faces_of_another_size_are_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    session = OpenVinoSession(write_onnx(tmp_path / "model.onnx"))
    with pytest.raises(InputError, match="this engine takes uint8"):
        session.upscale(np.zeros(shape, np.uint8))


def test_a_damaged_graph_is_named(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"nonsense")
    with pytest.raises(InputError, match=rf"^{path}: OpenVINO .* refuses it"):
        OpenVinoSession(path)
