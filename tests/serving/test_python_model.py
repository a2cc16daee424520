"""model.py for Triton's Python back end, with stand-ins for what Triton gives it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fsr_deploy.errors import InputError, MissingError
from fsr_deploy.serving.triton_repository import TritonOptions, write_triton
from tests.engines import repeat_pixels
from tests.fakes.plans import lr_faces, write_bundle


@pytest.fixture
def model(tmp_path: Path) -> Path:
    write_bundle(tmp_path / "tiny")
    return write_triton(tmp_path / "tiny", tmp_path / "models", TritonOptions())


def start(model: Path, monkeypatch: pytest.MonkeyPatch, kind: str = "CPU") -> Any:
    """Start the model.py of a repository as Triton does."""
    utils: Any = ModuleType("triton_python_backend_utils")
    utils.get_input_tensor_by_name = lambda request, name: request[name]
    utils.Tensor = SimpleNamespace(from_dlpack=lambda name, array: (name, array))
    utils.InferenceResponse = lambda tensors: dict(tensors)
    monkeypatch.setitem(sys.modules, utils.__name__, utils)
    names: dict[str, Any] = {"__name__": "model"}
    exec(compile((model / "1" / "model.py").read_text(), str(model / "1" / "model.py"), "exec"), names)
    served = names["TritonPythonModel"]()
    config = json.dumps({"input": [{"name": "lr"}], "output": [{"name": "sr"}]})
    served.initialize(
        {
            "model_config": config,
            "model_repository": str(model),
            "model_version": "1",
            "model_instance_kind": kind,
            "model_instance_device_id": "0",
        }
    )
    return served


def test_each_request_gets_its_own_faces_back(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    served = start(model, monkeypatch)
    asked = [lr_faces(count, seed=count) for count in (1, 3, 2)]
    answers = served.execute([{"lr": faces} for faces in asked])
    served.finalize()
    assert len(answers) == 3
    for faces, answer in zip(asked, answers, strict=True):
        np.testing.assert_array_equal(answer["sr"], repeat_pixels(faces))


def test_a_bundle_that_was_changed_keeps_the_model_from_loading(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (model / "1" / "bundle" / "model.onnx").open("ab") as stream:
        stream.write(b"x")
    with pytest.raises(InputError, match=r"model\.onnx: its SHA-256 is not the one in bundle\.json"):
        start(model, monkeypatch)


def test_an_instance_on_a_gpu_does_not_run_on_the_cpu_instead(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MissingError, match="--device cuda:0"):
        start(model, monkeypatch, kind="GPU")
