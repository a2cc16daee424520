"""fsr-run on several devices: here, on several sessions on the CPU."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import numpy as np
import pytest

import fsr_deploy as fsr
from fsr_deploy.images.codec import read_frame, write_frame
from fsr_deploy.runtime.backends.onnxruntime import OnnxSession
from fsr_deploy.runtime.session import Batch
from tests.cli.runs import COUNT, contents, error, fsr_run, succeed
from tests.cli.test_run_resume import start, wait_for_output
from tests.engines import repeat_pixels, write_onnx
from tests.films.drawn import draw, packets_of

TWO = ("--device", "cpu,cpu")


@pytest.fixture
def whole(here: Path) -> Path:
    """Frames with three faces each, and where these are."""
    rng = np.random.default_rng(1)
    for index in range(6):
        write_frame(f"frames/{index}.png", rng.integers(0, 256, (32, 48, 3), np.uint8))
    lines = (f"{index}.png,{place},{4 + index},6,6" for index in range(6) for place in (2, 16, 30))
    Path("boxes.csv").write_text("\n".join(["file,x,y,w,h", *lines]))
    return here


def one_session_fails(monkeypatch: pytest.MonkeyPatch, batches: int) -> None:
    """Let the first session that is used fail for ever after so many batches."""
    used: list[OnnxSession] = []
    upscale = OnnxSession.upscale

    def failing(session: OnnxSession, batch: Batch) -> Batch:
        used.append(session)
        if session is used[0] and used.count(session) > batches:
            raise RuntimeError("the device is lost")
        return upscale(session, batch)

    monkeypatch.setattr(OnnxSession, "upscale", failing)


def test_two_sessions_write_what_one_writes_and_say_where_they_run(here: Path) -> None:
    succeed("model.onnx", "faces", "-o", "one", "--device", "cpu")
    result = succeed("model.onnx", "faces", "-o", "two", *TWO, "--json")
    assert ", device cpu,cpu, precision fp32" in result.stderr.splitlines()[0]
    assert json.loads(result.stdout)["engine"]["device"] == "cpu,cpu"
    assert contents("two") == contents("one") and len(contents("two")) == COUNT


@pytest.mark.parametrize("devices", ["cpu", "cpu,cpu,cpu"])
def test_a_run_goes_on_with_another_number_of_devices(here: Path, devices: str) -> None:
    succeed("model.onnx", "faces", "-o", "out", *TWO)
    Path("out/00.png").unlink()
    assert f"1 done, {COUNT - 1} done before" in succeed("model.onnx", "faces", "-o", "out", "--device", devices).stderr


@pytest.mark.parametrize(
    "how", [("faces",), ("frames", "--boxes", "boxes.csv"), ("frames/0.png", "--boxes", "one.csv")]
)
def test_one_that_is_lost_midway_costs_no_picture(
    whole: Path, monkeypatch: pytest.MonkeyPatch, how: tuple[str, ...]
) -> None:
    Path("one.csv").write_text("file,x,y,w,h\n0.png,2,4,6,6\n0.png,16,4,6,6\n0.png,30,4,6,6\n")
    single = how[0].endswith(".png")
    places = [f"{name}{'.png' if single else ''}" for name in ("undisturbed", "out")]
    succeed("model.onnx", *how, "-o", places[0], "--device", "cpu")
    one_session_fails(monkeypatch, 0 if single else 2)
    result = succeed("model.onnx", *how, "-o", places[1], *TWO, "--json")
    warning = "cpu (device 1 of 2) failed and is left out, the others do its work: RuntimeError: the device is lost"
    assert result.stderr.count("the device is lost") == 1 and f"warning: {warning}" in result.stderr
    assert json.loads(result.stdout)["engine"]["notes"] == [warning]
    if single:
        assert Path(places[1]).read_bytes() == Path(places[0]).read_bytes()
    else:
        assert contents("out") == contents("undisturbed")


def test_one_that_is_lost_midway_costs_no_frame_of_a_film(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw(Path("film.mkv"))
    succeed("model.onnx", "film.mkv", "-o", "undisturbed.mkv", "--device", "cpu")
    one_session_fails(monkeypatch, 3)
    result = succeed("model.onnx", "film.mkv", "-o", "out.mkv", *TWO)
    assert result.stderr.count("the device is lost") == 1
    assert packets_of(Path("out.mkv"), "video") == packets_of(Path("undisturbed.mkv"), "video")


def test_when_the_last_one_is_lost_the_next_run_goes_on(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        one_session_fails(patched, 3)
        assert isinstance(fsr_run("model.onnx", "faces", "-o", "out", "--device", "cpu").exception, RuntimeError)
    succeed("model.onnx", "faces", "-o", "undisturbed")
    assert contents("out").items() <= contents("undisturbed").items()
    succeed("model.onnx", "faces", "-o", "out", *TWO)
    assert contents("out") == contents("undisturbed")


def test_killed_and_run_again_on_more_devices_the_bytes_are_the_same(here: Path) -> None:
    write_onnx(Path("model.onnx"), scale=32, work=12)
    for index in range(12):
        shutil.copy(f"faces/sub/0{1 + index % 2}.png", f"faces/again_{index}.png")
    succeed("model.onnx", "faces", "-o", "undisturbed", "--batch", 2)
    process = start("model.onnx", "faces", "-o", "out", "--batch", "2", *TWO)
    wait_for_output(process, "out", random.Random(5).randint(3, 12))
    process.kill()
    process.communicate()
    whole = {name: content for name, content in contents("out").items() if name.endswith(".png")}
    assert whole.items() <= contents("undisturbed").items()
    succeed("model.onnx", "faces", "-o", "out", "--batch", 2, "--device", "cpu,cpu,cpu")
    assert contents("out") == contents("undisturbed")


def test_other_engines_on_one_list_are_refused_before_anything_is_written(here: Path) -> None:
    pytest.importorskip("openvino")
    result = fsr_run("model.onnx", "faces", "-o", "out", "--device", "cpu,openvino:CPU")
    assert result.exit_code == 2 and not Path("out").exists()
    assert "would not give the same faces; name devices that run the same engine" in error(result)


def test_the_same_from_python(whole: Path) -> None:
    with fsr.load("model.onnx", "cpu,cpu") as upscaler:
        assert upscaler.info.device == "cpu,cpu"
        face = read_frame(Path("faces/00.png"))
        np.testing.assert_array_equal(upscaler(face), repeat_pixels(face[None])[0])
        assert upscaler.run("frames", "out", boxes="boxes.csv").done == 6
