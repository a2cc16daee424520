"""Films in which faces appear: found or known by the frame's number, steady over time, and upscaled in place."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import fsr_deploy as fsr
from fsr_deploy.faces.boxes import read_boxes
from fsr_deploy.faces.face import Face
from fsr_deploy.faces.film import FilmFrames
from fsr_deploy.faces.restorer import FrameRestorer, RestoreSettings
from fsr_deploy.runtime.open import open_session
from tests.cli.runs import error, fsr_run, succeed
from tests.engines import write_onnx
from tests.faces.detectors import write_centerface
from tests.films.drawn import COUNT, draw, frames_of, packets_of, times_of

WIDTH, HEIGHT = 96, 64
LOSSLESS = ("--codec", "ffv1", "--pix-fmt", "yuv444p", "--upscale", "2")


def planes(index: int) -> list[NDArray[np.uint8]]:
    """Return Y, U and V of a grey frame with a red cell for the detector, which is missed in one frame."""
    y, u, v = (np.full((HEIGHT, WIDTH), level, np.uint8) for level in (120, 128, 128))
    if index != 7:
        cell = np.s_[28:32, 32 + 4 * (index // 10) : 36 + 4 * (index // 10)]
        y[cell], u[cell], v[cell] = 81, 90, 240
    return [y, u, v]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an engine, a detector and a film; it is the current one."""
    monkeypatch.chdir(tmp_path)
    write_onnx(Path("model.onnx"), lr_size=8, scale=8)
    write_centerface(Path("detector.onnx"))
    draw(Path("film.mkv"), [planes(index) for index in range(COUNT)], sounds=1, codec="ffv1")
    return tmp_path


def test_frames_get_the_faces_of_their_numbers(here: Path) -> None:
    session, settings = open_session("model.onnx", "cpu"), RestoreSettings(upscale=2)
    frames = list(np.random.default_rng(0).integers(0, 256, (4, HEIGHT, WIDTH, 3), np.uint8))
    known = {5: (Face(20, 10, 30, 30),), 7: (Face(10, 8, 24, 24), Face(50, 20, 20, 20))}
    alone = FrameRestorer(session, settings, batch=2)
    ours = FilmFrames(session, alone, known)
    assert ours.size(WIDTH, HEIGHT) == (2 * WIDTH, 2 * HEIGHT)
    for number, frame, restored in zip(range(4, 8), frames, ours.restore(frames, 4), strict=True):
        assert np.array_equal(restored, alone.restore(frame, known.get(number, ())).frame)
    assert ours.made_with != FilmFrames(session, alone, {5: known[5]}).made_with


def test_found_faces_are_steady_saved_and_the_same_film_again(here: Path) -> None:
    said = succeed("model.onnx", "film.mkv", "--find-faces", "detector.onnx", "--save-boxes", "faces.csv", *LOSSLESS)
    assert f"film.mkv: {COUNT} faces in {COUNT} of {COUNT} frames" in said.stderr
    assert f"faces: {COUNT} upscaled" in said.stderr
    assert f"warning: detail was lost in {COUNT} of the faces, larger than 1.5 times 8x8" in said.stderr
    again = succeed("model.onnx", "film.mkv", "--find-faces", "detector.onnx", "--save-boxes", "faces.csv", *LOSSLESS)
    assert f"film_sr.mkv: 0 done, {COUNT} done before" in again.stderr, "it knows its own file of boxes"
    saved = read_boxes("faces.csv").numbers
    assert sorted(saved) == list(range(COUNT)), "the frame in which it was missed has it from its neighbours"
    assert saved[7][0].box == pytest.approx(saved[6][0].box) and saved[7][0].score is None
    steps = np.diff([saved[number][0].x for number in range(COUNT)])
    assert steps.min() >= 0 and steps.max() < 4, "a step of four pixels is spread over several frames"
    assert times_of(Path("film_sr.mkv")) == times_of(Path("film.mkv"))
    assert packets_of(Path("film_sr.mkv"), "audio") == packets_of(Path("film.mkv"), "audio")
    assert {(frame.width, frame.height) for frame in frames_of(Path("film_sr.mkv"))} == {(2 * WIDTH, 2 * HEIGHT)}
    succeed("model.onnx", "film.mkv", "-o", "again.mkv", "--boxes", "faces.csv", *LOSSLESS)
    assert packets_of(Path("again.mkv"), "video") == packets_of(Path("film_sr.mkv"), "video")


def test_other_faces_make_the_film_again_and_the_same_ones_do_not(here: Path) -> None:
    Path("boxes.csv").write_text("frame,x,y,w,h\n3,20,10,30,30\n")
    run = ("model.onnx", "film.mkv", "--boxes", "boxes.csv", *LOSSLESS, "--json")
    assert json.loads(succeed(*run).stdout)["frames"]["done"] == COUNT
    assert json.loads(succeed(*run).stdout)["frames"]["done"] == 0
    Path("boxes.csv").write_text("frame,x,y,w,h\n3,20,10,30,32\n")
    assert json.loads(succeed(*run).stdout)["frames"]["done"] == COUNT
    with fsr.load("model.onnx", "cpu") as upscaler:
        summary = upscaler.run("film.mkv", "api.mkv", boxes="boxes.csv", upscale=2, codec="ffv1", pix_fmt="yuv444p")
    assert summary.done == COUNT
    assert packets_of(Path("api.mkv"), "video") == packets_of(Path("film_sr.mkv"), "video")


@pytest.mark.parametrize("how", [LOSSLESS, ("--faces-only",)], ids=["frames", "faces only"])
def test_faces_that_are_large_already_and_those_that_lose_detail_are_counted(here: Path, how: tuple[str, ...]) -> None:
    """SR faces have 64x64 pixels, LR faces 8x8; a face's square is 1.6 times as large as its box."""
    Path("boxes.csv").write_text("frame,x,y,w,h\n3,20,10,40,40\n3,20,10,41,41\n5,20,10,7,7\n7,20,10,8,8\n")
    run = ("model.onnx", "film.mkv", "--boxes", "boxes.csv", *how)
    result = succeed(*run, "--json")
    told = "faces: 3 upscaled, 1 left as they are, larger than 64x64 already (--all-faces takes them), none in 17"
    assert told in result.stderr
    lost = "detail was lost in 2 of the faces, larger than 1.5 times 8x8; take an engine for larger ones"
    assert f"warning: {lost}" in result.stderr
    summary = json.loads(result.stdout)
    assert summary["warnings"] == [lost]
    assert summary["faces"] == {"upscaled": 3, "left_as_they_are": 1, "frames_without": 17}
    assert json.loads(succeed(*run, "--json", "--all-faces").stdout)["faces"]["upscaled"] == 4


@pytest.mark.parametrize(
    ("lines", "options", "code", "sentence"),
    [
        ("file,x,y,w,h\na.png,1,1,9,9", (), 4, "boxes.csv: is for pictures; the columns of a film's are"),
        ("frame,x,y,w,h\n20,1,1,9,9", (), 4, "has faces of frame 20, and the film has 20, from 0 on"),
        ("frame,x,y,w,h\n2,100,1,9,9", (), 4, "boxes.csv: frame 2: the face .* outside"),
        ("frame,x,y,w,h\n2,1,1,0,9", (), 4, "boxes.csv: line 2: the face .* no area"),
        ("frame,x,y,w,h\n2,1,1,9,9", ("--fit", "stretch"), 2, "--fit stretch: is for frames that are faces"),
    ],
)
def test_what_does_not_fit_the_film_is_refused_before_anything_is_written(
    here: Path, lines: str, options: tuple[str, ...], code: int, sentence: str
) -> None:
    Path("boxes.csv").write_text(f"{lines}\n")
    result = fsr_run("model.onnx", "film.mkv", "--boxes", "boxes.csv", *options)
    assert result.exit_code == code
    assert re.search(sentence, error(result)), error(result)
    assert not list(here.glob("*_sr*")) and not list(here.glob(".film*"))
