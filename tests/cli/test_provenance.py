"""Signatures and bills of materials as a user meets them: fsr-export --sign, --sbom, --bundle, and fsr-run --verify."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import fsr_deploy as fsr
from fsr_deploy import upscaler
from fsr_deploy.bundle.info import Bundle, read_bundle
from fsr_deploy.bundle.publish import staged_directory
from fsr_deploy.cli.export import main as export_main
from fsr_deploy.cli.run import main as run_main
from fsr_deploy.cli.serve import main as serve_main
from fsr_deploy.exporting import export as exporting_export
from fsr_deploy.images.codec import write_frame
from fsr_deploy.runtime import open as opening
from tests.fakes.plans import write_bundle
from tests.keys import write_keys


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_bundle(Path("tiny"))
    write_keys(Path())
    write_frame("faces/0.png", np.zeros((4, 4, 3), np.uint8))


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Exports give the bundle that is there; returns the list of them."""
    done = []

    def run_export(options: object) -> Bundle:
        done.append(Path("tiny"))
        return read_bundle(Path("tiny"))

    monkeypatch.setattr(exporting_export, "run_export", run_export)
    return done


def export(*words: str) -> Any:
    return CliRunner().invoke(export_main, words)


def run(*words: str) -> Any:
    return CliRunner().invoke(run_main, ("tiny", "faces", "-o", "sr", "--verify", "key.pub", *words))


def error(result: Any) -> str:
    return result.stderr.partition("error: ")[2].strip()


def test_a_bundle_is_described_and_signed_after_its_export_and_verified_before_a_run(exported: list[Path]) -> None:
    result = export("aminet", "--sbom", "--sign", "key.pem")
    assert result.exit_code == 0, result.output
    lines = result.stderr.splitlines()
    assert "wrote tiny/sbom.cdx.json" in lines
    assert "wrote tiny/model.sig; check it: fsr-run tiny INPUT --verify KEY.pub" in lines
    result = run()
    assert (result.exit_code, Path("sr/0.png").is_file()) == (0, True), result.output


@pytest.mark.parametrize("name", ["bundle.json", "model.onnx", "reference.npz", "sbom.cdx.json"])
def test_with_one_byte_changed_nothing_is_loaded_and_the_file_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    assert export("--bundle", "tiny", "--sbom", "--sign", "key.pem").exit_code == 0
    content = bytearray(Path("tiny", name).read_bytes())
    content[len(content) // 2] ^= 1
    Path("tiny", name).write_bytes(content)
    for module in (opening, upscaler):
        monkeypatch.setattr(module, "open_session", lambda *_, **__: pytest.fail("loaded"))
    result = run()
    assert (result.exit_code, error(result)) == (4, f"tiny/{name}: changed since the bundle was signed")
    assert not Path("sr").exists()
    with pytest.raises(fsr.InputError, match=f"tiny/{name}: changed since"):
        fsr.load("tiny", verify="key.pub")


def test_a_bundle_that_is_there_is_signed_as_it_is() -> None:
    before = Path("tiny/bundle.json").read_bytes()
    result = export("--bundle", "tiny", "--sign", "key.pem", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["bundle"] == "tiny"
    assert Path("tiny/bundle.json").read_bytes() == before
    fsr.verify("tiny", "key.pub")
    with fsr.load("tiny", verify="key.pub") as loaded:
        assert loaded(np.zeros((4, 4, 3), np.uint8)).shape == (32, 32, 3)


def test_python_signs_too() -> None:
    bundle = read_bundle(Path("tiny"))
    assert [fsr.write_sbom(bundle), fsr.sign(bundle, "key.pem")] == [Path("tiny/sbom.cdx.json"), Path("tiny/model.sig")]
    fsr.verify(bundle, "key.pub")


USAGE = {
    "nothing to do": (("--bundle", "tiny"), "--bundle tiny: give --sign KEY, --sbom or both with it"),
    "a model too": (
        ("aminet", "--bundle", "tiny", "--sbom"),
        "--bundle takes a bundle as it is; leave MODEL out",
    ),
    "a plan too": (
        ("--rebuild", "tiny", "--bundle", "tiny", "--sbom"),
        "--bundle takes a bundle as it is; leave --rebuild out",
    ),
}


@pytest.mark.parametrize(("words", "message"), USAGE.values(), ids=USAGE.keys())
def test_options_that_do_not_go_together_are_named(words: tuple[str, ...], message: str) -> None:
    result = export(*words)
    assert (result.exit_code, error(result)) == (2, message)


def test_a_signed_bundle_is_not_described_without_signing_it_again() -> None:
    assert export("--bundle", "tiny", "--sign", "key.pem").exit_code == 0
    result = export("--bundle", "tiny", "--sbom")
    assert result.exit_code == 2
    assert error(result) == "--bundle tiny: is signed, and would no longer be as signed; give --sign KEY too"
    fsr.verify("tiny", "key.pub")


def test_a_key_that_cannot_be_used_is_told_before_the_export(exported: list[Path]) -> None:
    result = export("aminet", "--sign", "key.pub")
    assert result.exit_code == 4 and "key.pub: cannot be used as a private key" in error(result)
    assert exported == []


def test_what_keeps_an_export_from_being_signed_says_how_to_go_on(exported: list[Path]) -> None:
    Path("tiny/notes.txt").touch()
    result = export("aminet", "--sign", "key.pem")
    assert result.exit_code == 4
    assert error(result).endswith("then sign; tiny is written: go on with fsr-export --bundle tiny")


@pytest.mark.parametrize(
    ("module", "words"),
    [("model_signing", ("--sign", "key.pem")), ("cyclonedx", ("--sbom",))],
)
def test_without_the_extra_nothing_is_exported_and_it_is_named(
    exported: list[Path], monkeypatch: pytest.MonkeyPatch, module: str, words: tuple[str, ...]
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    result = export("aminet", *words)
    assert result.exit_code == 3
    assert "is not installed; install it with: pip install 'fsr-deploy[sign]'" in result.stderr
    assert exported == []


def test_triton_gets_the_signature_with_the_bundle() -> None:
    assert export("--bundle", "tiny", "--sbom", "--sign", "key.pem").exit_code == 0
    assert CliRunner().invoke(serve_main, ("triton", "tiny", "models")).exit_code == 0
    fsr.verify("models/tiny/1/bundle", "key.pub")


def test_a_signed_bundle_can_be_exported_again() -> None:
    """Its signature and its bill are its own files, so that they may be replaced with it."""
    assert export("--bundle", "tiny", "--sbom", "--sign", "key.pem").exit_code == 0
    with staged_directory(Path("tiny")) as directory:
        write_bundle(directory)
    assert not Path("tiny/model.sig").exists()
