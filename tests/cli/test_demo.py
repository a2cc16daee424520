"""fsr-demo as a user meets it before there is a page."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fsr_deploy.cli.demo import main
from tests.fakes.plans import write_bundle


@pytest.fixture(autouse=True)
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_bundle(Path("tiny"))


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("small",), 4, "small: no bundle.json here; this is not a bundle that fsr-export wrote"),
        (("tiny", "--upscale", "2"), 2, "--upscale 2: is for faces in whole pictures; add --find-faces"),
        (("tiny", "--find-faces", "d.onnx", "--upscale", "9"), 2, "--upscale 9: give a whole number from 1 to 8"),
        (("tiny", "--port", "65536"), 2, "--host 127.0.0.1 --port 65536: cannot be used"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_with_its_exit_code(
    words: tuple[str, ...], code: int, message: str
) -> None:
    result = CliRunner().invoke(main, words)
    assert (result.exit_code, message in result.stderr, result.stdout) == (code, True, ""), result.stderr


def test_a_port_that_is_taken_is_told_before_the_engine_is_loaded() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = CliRunner().invoke(main, ["tiny", "--port", str(taken.getsockname()[1])])
    assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1)


def test_without_gradio_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    result = CliRunner().invoke(main, ["tiny", "--port", "0"])
    assert result.exit_code == 3
    assert "Gradio is not installed; install it with: pip install 'fsr-deploy[demo]'" in result.stderr
