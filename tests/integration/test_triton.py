"""A real Triton serves what fsr-serve wrote."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.http
from filelock import FileLock
from google.protobuf import text_format
from numpy.typing import NDArray
from tritonclient.grpc import InferenceServerClient, model_config_pb2

import fsr_deploy as fsr
from fsr_deploy.bundle.info import PlanInfo, read_bundle, write_info
from fsr_deploy.synthetic import write_faces
from tests.faces.detectors import write_centerface
from tests.faces.test_detector import scene
from tests.integration.triton_server import Server, make_python, triton, unpack

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
WEIGHTS = ROOT / "weights" / "aminet-tiny-faces.safetensors"
FACES = 200


def command(name: str, *words: object) -> str:
    """Run one of our commands as a user does; returns what it printed."""
    call = (sys.executable, "-m", f"fsr_deploy.cli.{name}", *map(str, words))
    done = subprocess.run(call, check=False, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def home() -> Path:
    found = unpack()
    if isinstance(found, str):
        pytest.skip(found)
    return found


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_python(tmp_path_factory.mktemp("python"))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trained tiny network, exported once for all processes of a run."""
    folder = tmp_path_factory.getbasetemp()
    folder = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder
    with FileLock(folder / "tiny.lock"):
        if not (folder / "tiny").exists():
            command("export", WEIGHTS, "--batch", "1,2,4", "-o", folder / "tiny")
    return folder / "tiny"


@pytest.fixture(scope="module")
def server(
    home: Path, python: Path, bundle: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Server, Path]]:
    """A server of the tiny network, and its repository."""
    folder = tmp_path_factory.mktemp("served")
    command("serve", "triton", bundle, folder / "models")
    with triton(home, python, folder / "models", folder / "log", "--log-verbose", "1") as running:
        yield running, folder / "models"


@pytest.fixture(scope="module")
def faces(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """LR faces, and the SR faces that fsr-run makes of them."""
    folder = tmp_path_factory.mktemp("faces")
    write_faces(folder / "lr", FACES, lr_size=16, seed=20261)
    command("run", bundle, folder / "lr", "-o", folder / "sr")
    return folder / "lr", folder / "sr"


def pictures(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.png")}


@pytest.mark.parametrize("options", [[], ["--shared-memory"]], ids=["sent", "in shared memory"])
@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_the_client_gets_what_fsr_run_makes_to_the_byte(
    server: tuple[Server, Path], faces: tuple[Path, Path], tmp_path: Path, protocol: str, options: list[str]
) -> None:
    running, _ = server
    url = running.http if protocol == "http" else running.grpc
    counted = {name: running.count(name, "tiny") for name in ("nv_inference_count", "nv_inference_exec_count")}
    client = (sys.executable, ROOT / "examples" / "triton_client.py", "tiny", faces[0], tmp_path / "sr")
    subprocess.run([*map(str, client), "--protocol", protocol, "--url", url, *options], check=True, cwd=ROOT)
    assert len(pictures(tmp_path / "sr")) == FACES
    assert pictures(tmp_path / "sr") == pictures(faces[1])
    inferred = running.count("nv_inference_count", "tiny") - counted["nv_inference_count"]
    batches = running.count("nv_inference_exec_count", "tiny") - counted["nv_inference_exec_count"]
    assert inferred == FACES and batches < 0.75 * FACES, "requests of one face each were put together"


def test_the_model_is_warm_before_the_first_request(server: tuple[Server, Path]) -> None:
    log = server[0].log
    assert [f"is running warmup sample 'batch {size}'" in log for size in (1, 2, 4)] == [True] * 3


def test_the_server_reads_the_configuration_as_it_was_written(server: tuple[Server, Path], bundle: Path) -> None:
    running, repository = server
    served = InferenceServerClient(running.grpc).get_model_config("tiny").config
    written = text_format.Parse((repository / "tiny" / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())
    for field in ("name", "backend", "max_batch_size", "input", "output", "model_warmup", "parameters"):
        assert getattr(served, field) == getattr(written, field)
    assert list(served.dynamic_batching.preferred_batch_size) == [2]
    about = tritonclient.http.InferenceServerClient(running.http).get_model_metadata("tiny")
    info = read_bundle(bundle).info
    for tensors, described in ((info.inputs, about["inputs"]), (info.outputs, about["outputs"])):
        shapes = [(tensor.name, tensor.dtype.upper(), [-1, *tensor.shape[1:]]) for tensor in tensors]
        assert [(one["name"], one["datatype"], one["shape"]) for one in described] == shapes


@pytest.fixture(scope="module")
def many(
    home: Path, python: Path, bundle: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Server, Path]]:
    """A server that completes no configuration and loads what it is asked for, of good models and bad ones."""
    folder = tmp_path_factory.mktemp("many")
    models, planned = folder / "models", folder / "planned"
    shutil.copytree(bundle, planned)
    (planned / "engine.plan").write_bytes(b"a plan that no TensorRT here would load")
    plan = PlanInfo("10.16.1.11", "8.6", "NVIDIA A10", "linux", profiles=((1, 1, 1), (2, 2, 4)))
    write_info(planned, replace(read_bundle(planned).info, plan=plan))
    for name, backend in (("graph", "onnxruntime"), ("plan", "tensorrt"), ("damaged", "python")):
        command("serve", "triton", planned if name == "plan" else bundle, models, "--name", name, "--backend", backend)
    with (models / "damaged" / "1" / "bundle" / "model.onnx").open("ab") as stream:
        stream.write(b"x")
    options = ("--model-control-mode", "explicit", "--disable-auto-complete-config")
    with triton(home, python, models, folder / "log", *options) as running:
        yield running, models


def test_a_damaged_bundle_keeps_the_model_from_loading(many: tuple[Server, Path]) -> None:
    running, _ = many
    sentence = "model.onnx: its SHA-256 is not the one in bundle.json; the file was changed or cut off"
    assert sentence in running.load("damaged")
    assert sentence in running.log


@pytest.mark.parametrize(("model", "backend"), [("graph", "onnxruntime"), ("plan", "tensorrt")])
def test_the_server_accepts_the_configurations_of_its_other_back_ends(
    many: tuple[Server, Path], model: str, backend: str
) -> None:
    """The wheel does not hold these back ends: the search for one comes after the configuration's checks."""
    running, models = many
    assert f"unable to find backend library for backend '{backend}'" in running.load(model)
    path = models / model / "config.pbtxt"
    config: Any = text_format.Parse(path.read_text(), model_config_pb2.ModelConfig())
    config.dynamic_batching.preferred_batch_size[:] = [9]
    path.write_text(text_format.MessageToString(config))
    assert "failed to poll from model repository" in running.load(model)
    assert "dynamic batching preferred size must be <= max batch size" in running.log


def test_whole_frames_are_restored_as_in_this_process(home: Path, python: Path, bundle: Path, tmp_path: Path) -> None:
    detector = write_centerface(tmp_path / "c.onnx")
    command("serve", "triton", bundle, tmp_path / "models", "--find-faces", detector, "--upscale", "2")
    frame = scene(160, 120, (40.0, 40.0), (100.0, 60.0))
    with fsr.load(bundle, "cpu", find_faces=detector) as upscaler:
        expected = upscaler.restore(frame, upscale=2)
    assert len(expected.faces) == 2
    with triton(home, python, tmp_path / "models", tmp_path / "log") as running:
        client = tritonclient.http.InferenceServerClient(running.http)

        def infer(pixels: NDArray[np.uint8]) -> Any:
            given = tritonclient.http.InferInput("frame", pixels.shape, "UINT8")
            given.set_data_from_numpy(pixels)
            return client.infer("tiny_frames", [given])

        answer = infer(frame)
        assert np.array_equal(answer.as_numpy("frame"), expected.frame)
        assert np.allclose(answer.as_numpy("faces")[:, :4], [face.box for face in expected.faces], atol=1e-3)
        nothing = infer(np.zeros((64, 48, 3), np.uint8))
        assert nothing.as_numpy("frame").shape == (128, 96, 3) and len(nothing.as_numpy("faces")) == 0
