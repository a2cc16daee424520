"""A graph that refers to other files reaches none of the libraries that would open them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import onnx
import pytest
from typer.testing import CliRunner

from fsr_deploy.bundle.engine_file import read_engine_file
from fsr_deploy.bundle.info import ONNX_NAME, read_bundle, write_info
from fsr_deploy.cli import export, profile, run
from fsr_deploy.errors import InputError
from fsr_deploy.exporting.tensorrt.build import build_plan
from fsr_deploy.exporting.tensorrt.config import PlanOptions
from fsr_deploy.exporting.tensorrt.rebuild import rebuild_plan
from fsr_deploy.images.codec import write_frame
from fsr_deploy.runtime.open import open_session
from tests.engines import write_onnx
from tests.fakes.machine import MachineFactory
from tests.fakes.plans import lr_faces, write_bundle

CONSUMERS: dict[str, Callable[[Path], Any]] = {
    "ONNX Runtime": open_session,
    "OpenVINO": lambda path: open_session(path, backend="openvino"),
    "TensorRT's parser": lambda path: build_plan(path, "fp32", (1, 4, 8), PlanOptions()),
    "fsr-profile's recorders": read_engine_file,
}


@pytest.fixture
def libraries(machine: MachineFactory, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that notes which libraries were given a graph: ONNX Runtime, and two stand-ins."""
    given: list[str] = []
    gpu = machine("10.16")

    class Core:
        available_devices = ("CPU",)

        def get_property(self, device: str, name: str) -> list[str]:
            return ["FP32"]

        def read_model(self, content: bytes) -> None:
            given.append("OpenVINO")
            raise RuntimeError("a stand-in")

    openvino = ModuleType("openvino")
    openvino.Core, openvino.__version__ = Core, "2026.1"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "openvino", openvino)
    monkeypatch.setattr("fsr_deploy.runtime.backends.openvino.core", Core)
    monkeypatch.setattr(gpu.tensorrt.OnnxParser, "parse", lambda self, model: given.append("TensorRT"))
    monkeypatch.setattr("onnxruntime.InferenceSession", lambda *args, **options: given.append("ONNX Runtime"))
    return given


def refer(path: Path, location: str) -> Path:
    """Let a tensor of a graph keep its values in another file."""
    model = onnx.load(path)
    onnx.external_data_helper.set_external_data(model.graph.initializer[0], location, length=1)
    model.graph.initializer[0].ClearField("raw_data")
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize("location", ["/etc/hostname", "../weights.bin", "weights.bin"])
@pytest.mark.parametrize("consumer", CONSUMERS)
def test_no_library_is_given_a_graph_that_refers_to_other_files(
    libraries: list[str], tmp_path: Path, consumer: str, location: str
) -> None:
    path = refer(write_onnx(tmp_path / "m.onnx"), location)
    with pytest.raises(InputError, match=r"m\.onnx: keeps weights in other files \(external data\)"):
        CONSUMERS[consumer](path)
    assert libraries == []


@pytest.mark.parametrize("consumer", CONSUMERS)
def test_a_link_to_such_a_graph_is_no_way_round(libraries: list[str], tmp_path: Path, consumer: str) -> None:
    refer(write_onnx(tmp_path / "m.onnx"), "/etc/hostname")
    (tmp_path / "link.onnx").symlink_to("m.onnx")
    with pytest.raises(InputError, match=r"link\.onnx: keeps weights in other files"):
        CONSUMERS[consumer](tmp_path / "link.onnx")
    assert libraries == []


@pytest.mark.parametrize("consumer", ["OpenVINO", "TensorRT's parser"])
def test_a_graph_that_is_whole_gets_through(libraries: list[str], tmp_path: Path, consumer: str) -> None:
    with pytest.raises(InputError):
        CONSUMERS[consumer](write_onnx(tmp_path / "m.onnx"))
    assert libraries == [consumer.partition("'")[0]]


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """Return a bundle whose hashes are right and whose graph refers to a file of the machine that runs it."""
    write_bundle(tmp_path / "bundle")
    refer(tmp_path / "bundle" / ONNX_NAME, "/etc/hostname")
    write_info(tmp_path / "bundle", read_bundle(tmp_path / "bundle").info)
    return tmp_path / "bundle"


def test_the_plan_of_such_a_bundle_is_not_built(libraries: list[str], bundle: Path) -> None:
    with pytest.raises(InputError, match="external data"):
        rebuild_plan(bundle, PlanOptions())
    assert libraries == []


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        (run.main, ("bundle", "frames")),
        (profile.main, ("bundle", "--batches", "1")),
        (export.main, ("--rebuild", "bundle")),
    ],
)
def test_every_command_refuses_such_a_bundle_in_one_sentence(
    machine: MachineFactory,
    bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: Any,
    arguments: tuple[str, ...],
) -> None:
    machine("10.16")
    monkeypatch.chdir(tmp_path)
    write_frame(Path("frames/face.png"), lr_faces(1)[0])
    result = CliRunner().invoke(command, list(arguments))
    assert result.exit_code == 4, result.output
    assert "model.onnx: keeps weights in other files (external data)" in result.stderr.splitlines()[-1]
