"""fsr-serve as a user meets it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from fsr_deploy.bundle.info import Bundle, read_bundle
from fsr_deploy.cli.export import main as export
from fsr_deploy.cli.serve import main
from fsr_deploy.exporting import export as exporting_export
from tests.faces.detectors import write_centerface
from tests.fakes.plans import write_bundle


@pytest.fixture(autouse=True)
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_bundle(Path("tiny"))


def fsr_serve(*words: str) -> Any:
    return CliRunner().invoke(main, words)


def test_a_bundle_becomes_a_model_of_its_name() -> None:
    result = fsr_serve("triton", "tiny/", "models")
    assert result.exit_code == 0, result.output
    assert result.stdout == "wrote models/tiny, version 1\nserve it: tritonserver --model-repository models\n"
    assert Path("models/tiny/1/model.py").is_file()


def test_whole_frames_have_a_model_beside_it_or_neither_is_written() -> None:
    Path("none.onnx").write_bytes(b"no graph")
    result = fsr_serve("triton", "tiny", "models", "--find-faces", "none.onnx")
    assert (result.exit_code, Path("models").exists()) == (4, False) and "none.onnx: no face detector" in result.stderr
    write_centerface(Path("c.onnx"))
    result = fsr_serve("triton", "tiny", "models", "--find-faces", "c.onnx")
    assert result.stdout.startswith("wrote models/tiny, version 1, and models/tiny_frames for whole frames\n")
    result = fsr_serve("triton", "tiny", "models", "--find-faces", "c.onnx", "--version", "2")
    assert "models/tiny_frames: is there already; add --overwrite" in result.stderr
    assert not Path("models/tiny/2").exists()


def test_the_summary_is_json() -> None:
    result = fsr_serve("triton", "tiny", "models", "--name", "faces", "--backend", "onnxruntime", "--json")
    assert json.loads(result.stdout) == {
        "model": "models/faces",
        "version": 1,
        "backend": "onnxruntime",
        "frames": None,
    }


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("ray", "tiny", "models"), 2, "server ray: not one of triton"),
        (("triton", "small", "models"), 4, "small: no bundle.json here; this is not a bundle that fsr-export wrote"),
        (("triton", "tiny", "models", "--instances", "0"), 2, "--instances 0: give a whole number from 1 on"),
        (("triton", "tiny", "tiny/model.onnx"), 4, "model.onnx/tiny: cannot be written: Not a directory"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_with_its_exit_code(
    words: tuple[str, ...], code: int, message: str
) -> None:
    result = fsr_serve(*words)
    assert (result.exit_code, message in result.stderr, result.stdout) == (code, True, ""), result.stderr


def test_without_tritons_protobuf_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tritonclient.grpc", None)
    monkeypatch.delitem(sys.modules, "tritonclient.grpc.model_config_pb2", raising=False)
    result = fsr_serve("triton", "tiny", "models")
    assert result.exit_code == 3
    assert "tritonclient is not installed; install it with: pip install 'fsr-deploy[triton]'" in result.stderr


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Exports give the bundle that is there; returns the list of them."""
    done = []

    def run_export(options: object) -> Bundle:
        done.append(Path("tiny"))
        return read_bundle(Path("tiny"))

    monkeypatch.setattr(exporting_export, "run_export", run_export)
    return done


def test_an_export_is_written_for_triton_too(exported: list[Path]) -> None:
    result = CliRunner().invoke(export, ("aminet", "--triton", "models"))
    assert result.exit_code == 0, result.output
    assert "wrote models/tiny, version 1; serve it: tritonserver --model-repository models" in result.stderr
    assert read_bundle(Path("models/tiny/1/bundle")).info == read_bundle(Path("tiny")).info
    again = CliRunner().invoke(export, ("aminet", "--triton", "models"))
    assert again.exit_code == 4
    assert again.stderr.rstrip().endswith(
        "already holds version 1; add --version 2, or --overwrite; "
        "tiny is written: go on with fsr-serve triton tiny models"
    )


def test_an_export_for_triton_does_not_begin_without_the_extra(
    exported: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tritonclient.grpc", None)
    monkeypatch.delitem(sys.modules, "tritonclient.grpc.model_config_pb2", raising=False)
    result = CliRunner().invoke(export, ("aminet", "--triton", "models"))
    assert (result.exit_code, exported) == (3, [])
