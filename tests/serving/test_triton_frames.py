"""The model of whole frames beside that of the faces, as files."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fsr_deploy.errors import InputError
from fsr_deploy.faces.restorer import RestoreSettings
from fsr_deploy.serving.triton_config import CONFIG_NAME, read_config
from fsr_deploy.serving.triton_frames import DETECTOR_NAME, FacesModel, write_frames
from fsr_deploy.serving.triton_repository import TritonOptions, write_triton
from tests.engines import repeat_pixels, write_onnx
from tests.faces.detectors import write_centerface
from tests.faces.test_detector import scene
from tests.fakes.plans import write_bundle

pytest.importorskip("tritonclient")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    write_bundle(tmp_path / "tiny")
    return write_triton(tmp_path / "tiny", tmp_path / "models", TritonOptions())


def test_it_knows_the_model_of_the_faces_and_holds_the_detector(model: Path, tmp_path: Path) -> None:
    detector = write_centerface(tmp_path / "c.onnx")
    frames = write_frames(tmp_path / "tiny", model, detector, RestoreSettings(upscale=2), overwrite=False)
    assert frames == tmp_path / "models" / "tiny_frames"
    config = read_config(frames / CONFIG_NAME)
    faces = FacesModel.from_text(config.parameters["faces"].string_value)
    assert (faces.name, faces.input, faces.output, faces.max_batch) == ("tiny", "lr", "sr", 8)
    assert (faces.info().lr_shape, faces.info().sr_shape, faces.template) == ((4, 4), (32, 32), None)
    assert config.parameters["upscale"].string_value == "2" and config.max_batch_size == 0
    assert (frames / "1" / DETECTOR_NAME).read_bytes() == detector.read_bytes()
    assert {path.name for path in (tmp_path / "models").iterdir()} == {"tiny", "tiny_frames"}, "nothing else is left"


def test_landmarks_of_the_training_faces_come_back_as_they_were() -> None:
    points = ((0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.35, 0.8), (0.65, 0.8))
    model = FacesModel("tiny", "lr", "sr", 8, (16, 16), (128, 128), points)
    assert FacesModel.from_text(model.to_text()) == model


def test_what_is_in_the_way_is_kept(model: Path, tmp_path: Path) -> None:
    detector, settings = write_centerface(tmp_path / "c.onnx"), RestoreSettings()
    write_frames(tmp_path / "tiny", model, detector, settings, overwrite=False)
    with pytest.raises(InputError, match=r"tiny_frames: is there already; add --overwrite"):
        write_frames(tmp_path / "tiny", model, detector, settings, overwrite=False)
    write_frames(tmp_path / "tiny", model, detector, settings, overwrite=True)
    (tmp_path / "models" / "tiny_frames" / "1" / DETECTOR_NAME).unlink()
    with pytest.raises(InputError, match="not a model of whole frames; move it away"):
        write_frames(tmp_path / "tiny", model, detector, settings, overwrite=True)


def test_a_detector_that_is_none_is_refused_before_anything_is_written(model: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none.onnx: not a face detector"):
        write_frames(tmp_path / "tiny", model, write_onnx(tmp_path / "none.onnx"), RestoreSettings(), overwrite=False)
    assert not (tmp_path / "models" / "tiny_frames").exists()


def start(frames: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, list[int]]:
    """Start the model.py of whole frames as Triton does, with a model of faces that repeats pixels; its batches are
    listed.
    """
    batches: list[int] = []

    def request(model_name: str, requested_output_names: list[str], inputs: list[tuple[str, Any]]) -> Any:
        assert (model_name, requested_output_names, inputs[0][0]) == ("tiny", ["sr"], "lr")
        batches.append(len(inputs[0][1]))
        answer = {"sr": repeat_pixels(inputs[0][1])}
        return SimpleNamespace(exec=lambda: SimpleNamespace(has_error=lambda: False, outputs=answer))

    utils: Any = ModuleType("triton_python_backend_utils")
    utils.get_input_tensor_by_name = lambda request, name: request[name]
    utils.get_output_tensor_by_name = lambda answer, name: answer.outputs[name]
    utils.Tensor = SimpleNamespace(from_dlpack=lambda name, array: (name, array))
    utils.TritonError = str
    utils.InferenceResponse = lambda tensors, error=None: error or dict(tensors)
    utils.InferenceRequest = request
    monkeypatch.setitem(sys.modules, utils.__name__, utils)
    names: dict[str, Any] = {"__name__": "model"}
    exec(compile((frames / "1" / "model.py").read_text(), "model.py", "exec"), names)
    served = names["TritonPythonModel"]()
    config = read_config(frames / CONFIG_NAME)
    parameters = {name: {"string_value": value.string_value} for name, value in config.parameters.items()}
    served.initialize(
        {
            "model_config": json.dumps({"parameters": parameters}),
            "model_repository": str(frames),
            "model_version": "1",
        }
    )
    return served, batches


def test_faces_of_several_frames_go_together_and_a_bad_frame_is_its_own_error(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector, settings = write_centerface(tmp_path / "c.onnx"), RestoreSettings(upscale=2)
    frames = write_frames(tmp_path / "tiny", model, detector, settings, overwrite=False)
    served, batches = start(frames, monkeypatch)
    places = [(20.0 + 24 * column, 20.0 + 24 * row) for row in range(2) for column in range(3)]
    crowd, nobody = scene(80, 96, *places), scene(48, 64)
    answers = served.execute([{"frame": crowd}, {"frame": crowd[:0]}, {"frame": nobody}, {"frame": crowd}])
    assert batches == [8, 4], "twelve faces, in the largest batches of the other model"
    assert [np.shape(answers[index]["faces"]) for index in (0, 2, 3)] == [(6, 5), (0, 5), (6, 5)]
    assert [answers[index]["frame"].shape for index in (0, 2)] == [(160, 192, 3), (96, 128, 3)]
    np.testing.assert_array_equal(answers[0]["frame"], answers[3]["frame"])
    assert "give uint8 or uint16 RGB" in answers[1]
