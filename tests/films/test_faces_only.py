"""The SR faces of a film alone: the same run as over a folder of its frames."""

from __future__ import annotations

import json
import random
import re
import resource
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

import fsr_deploy as fsr
from fsr_deploy.errors import InputError
from fsr_deploy.faces.boxes import read_boxes
from fsr_deploy.films.bad import BadParts
from fsr_deploy.films.faces_only import InTurn
from fsr_deploy.films.frames import Decoded, Frames, upright
from fsr_deploy.films.survey import survey
from fsr_deploy.images.codec import write_frame
from tests.cli.runs import contents, error, fsr_run, succeed, without_root
from tests.cli.test_run_resume import INTERRUPTED, start, wait_for_output
from tests.engines import write_onnx
from tests.faces.detectors import write_centerface
from tests.films.drawn import COUNT, draw
from tests.films.test_bad_input import rewritten

WIDTH, HEIGHT = 96, 64
BOXES = "frame,x,y,w,h\n3,20,10,20,20\n7,20,10,20,20\n7,60,10,20,20\n"
RUN = ("model.onnx", "film.mkv", "--boxes", "boxes.csv", "--faces-only")
NAMES = ["frame_000003_face_0.png", "frame_000007_face_0.png", "frame_000007_face_1.png"]


def planes(index: int, deep: bool = False) -> list[NDArray[Any]]:
    """Return Y, U and V of a frame that is grey but for a red cell, which a stand-in for a detector takes for a face;
    with 10 bits, its grey lies between two levels of 8.
    """
    y, u, v = (np.full((HEIGHT, WIDTH), level, np.uint16 if deep else np.uint8) for level in (120, 128, 128))
    y[:, ::3] += index % 5
    cell = np.s_[28:32, 32 + 4 * (index // 10) : 36 + 4 * (index // 10)]
    y[cell], u[cell], v[cell] = 81, 90, 240
    return [plane * 4 + 1 for plane in (y, u, v)] if deep else [y, u, v]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an engine, a detector, a film and boxes; it is the current one."""
    monkeypatch.chdir(tmp_path)
    write_onnx(Path("model.onnx"), lr_size=8, scale=8)
    write_centerface(Path("detector.onnx"))
    draw(Path("film.mkv"), [planes(index) for index in range(COUNT)], codec="ffv1", options={"g": "1"})
    Path("boxes.csv").write_text(BOXES)
    return tmp_path


def faces(folder: str) -> dict[str, bytes]:
    return {name: content for name, content in contents(folder).items() if name.endswith(".png")}


def write_frames(film: str, folder: str) -> None:
    """Write what a film's frames look like as pictures, rounded to 8 bits."""
    found = survey(Path(film))
    for decoded in Frames(found, BadParts()):
        frame = upright(found, decoded)
        eight = frame if frame.dtype == np.uint8 else np.rint(frame / 257).astype(np.uint8)
        write_frame(f"{folder}/frame_{decoded.number:06}.png", eight)


@pytest.mark.parametrize("deep", [False, True])
def test_they_are_those_of_the_films_frames_as_pictures(here: Path, deep: bool) -> None:
    if deep:
        draw(Path("film.mkv"), [planes(n, deep) for n in range(COUNT)], codec="ffv1", pix_fmt="yuv444p10le")
    said = succeed(*RUN, "-o", "faces/").stderr
    assert "film.mkv: 20 frames, 96x64" in said and "faces: 3 upscaled, none in 18 of the frames" in said
    assert sorted(contents("faces")) == NAMES
    write_frames("film.mkv", "frames")
    Path("pictures.csv").write_text(re.sub(r"(?m)^(\d)", r"frame_00000\1.png", BOXES).replace("frame,", "file,", 1))
    succeed("model.onnx", "frames", "--boxes", "pictures.csv", "--faces-only", "-o", "of_pictures")
    assert faces("faces") == faces("of_pictures")


def test_found_faces_are_steady_and_saved_and_the_same_command_goes_on(here: Path) -> None:
    found = ("model.onnx", "film.mkv", "--find-faces", "detector.onnx", "--faces-only", "--save-boxes", "found.csv")
    summary = json.loads(succeed(*found, "--json", "--format", "jpg").stdout)
    assert (summary["output"], summary["video"]) == ("film_faces", None)
    assert summary["faces"] == {"upscaled": COUNT, "left_as_they_are": 0, "frames_without": 0}
    steps = np.diff([read_boxes("found.csv").numbers[number][0].x for number in range(COUNT)])
    assert steps.min() >= 0 and 0 < steps.max() < 4, "a step of four pixels is spread over several frames"
    before = contents("film_faces")
    assert len(before) == COUNT and all(cv2.imread(f"film_faces/{name}").shape == (64, 64, 3) for name in before)
    assert f"film_faces: 0 done, {COUNT} done before of {COUNT}" in succeed(*found, "--format", "jpg").stderr
    succeed("model.onnx", "film.mkv", "--boxes", "found.csv", "--faces-only", "--format", "jpg", "-o", "given")
    assert contents("given") == before
    Path("found.csv").write_text("mine")
    assert "found.csv: already exists; name another file" in error(fsr_run(*found, "--format", "jpg"))


def test_other_boxes_make_only_their_frames_again_and_remove_our_faces_that_are_gone(here: Path) -> None:
    succeed(*RUN, "-o", "faces")
    Path("boxes.csv").write_text("frame,x,y,w,h\n3,20,10,20,20\n7,22,10,20,20\n")
    assert "faces: 1 done, 19 done before of 20" in succeed(*RUN, "-o", "faces").stderr
    assert sorted(contents("faces")) == NAMES[:2]
    Path("faces", NAMES[0]).write_bytes(b"mine")
    refused = fsr_run(*RUN, "-o", "faces")
    assert refused.exit_code == 4 and "would be replaced: 1, the first is faces/frame_000003" in error(refused)
    assert Path("faces", NAMES[0]).read_bytes() == b"mine"
    assert "faces: 1 done, 19 done before" in succeed(*RUN, "-o", "faces", "--overwrite").stderr
    assert "faces: 20 done of 20" in succeed(*RUN, "-o", "faces", "--no-resume").stderr


@pytest.mark.parametrize(
    ("options", "code", "sentence"),
    [
        (("-o", "faces.mp4"), 2, "faces.mp4: --faces-only writes many pictures; name a folder with -o"),
        (("-o", "face.png"), 2, "face.png: --faces-only writes many pictures; name a folder with -o"),
        (("-o", "-"), 2, "-o -: nothing is written to standard output"),
        (("-o", "boxes.csv"), 4, "boxes.csv: a file; name a folder with -o"),
        (("--codec", "ffv1"), 2, "--codec, --crf and --pix-fmt: --faces-only writes no film; leave them out"),
        (("--upscale", "2"), 2, "--upscale: --faces-only writes no frames; leave one of them out"),
        (("--fit", "stretch"), 2, "--fit stretch: is for frames that are faces; leave it out"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    here: Path, options: tuple[str, ...], code: int, sentence: str
) -> None:
    before = contents(here)
    result = fsr_run(*RUN, *options)
    assert (result.exit_code, error(result).startswith(sentence)) == (code, True), error(result)
    assert contents(here) == before and not Path("film_faces").exists()


def test_a_film_without_boxes_or_detector_has_no_faces_to_write(here: Path) -> None:
    result = fsr_run("model.onnx", "film.mkv", "--faces-only")
    assert result.exit_code == 2
    assert error(result) == "--faces-only: is for faces in whole frames; add --boxes or --find-faces"


def test_bad_parts_are_named_with_their_frames_in_every_run(here: Path) -> None:
    Path("film.mkv").rename("plain.mkv")
    rewritten(Path("plain.mkv"), Path("film.mkv"), lambda n, content: b"\0" * 8 if n in (7, 8) else content)
    Path("boxes.csv").write_text(BOXES + "9,10,10,2,900\n")
    for done in ("17 done", "0 done, 17 done before"):
        result = fsr_run(*RUN, "-o", "faces", "--json")
        assert result.exit_code == 6
        assert f"faces: {done}, 3 missing of 20" in result.stderr
        assert "film.mkv: frames 7 to 8 (from 0.280 s): left out, cannot be decoded" in result.stderr
        assert "skipped: film.mkv: frame 9: face 1, (10, 10, 2, 900), does not fit" in result.stderr
        failures = json.loads(result.stdout)["failures"]
        assert [(part["first"], part["last"]) for part in failures] == [(7, 8), (9, 9)]
        assert failures[1]["reason"].startswith("face 1, (10, 10, 2, 900), does not fit")
    assert sorted(contents("faces")) == NAMES[:1]
    stopped = fsr_run(*RUN, "-o", "faces", "--on-error", "stop")
    assert stopped.exit_code == 4 and "leave out --on-error stop" in error(stopped)


def test_killed_at_any_moment_and_run_again_the_bytes_are_the_same(here: Path) -> None:
    kill_and_resume(40, [13])


@pytest.mark.integration
def test_killed_at_25_moments_of_500_frames(here: Path) -> None:
    kill_and_resume(500, sorted(random.Random(5).sample(range(480), 25)))


def kill_and_resume(count: int, moments: list[int]) -> None:
    """End runs when so many faces are there, with a signal that nobody can catch, and go on each time."""
    write_onnx(Path("model.onnx"), lr_size=8, scale=16, work=12)
    draw(Path("film.mkv"), [planes(n % COUNT) for n in range(count)], range(0, 40 * count, 40), codec="ffv1")
    rows = [f"{n},{20 + n % 9},10,20,20\n" for n in range(count)]
    Path("boxes.csv").write_text("frame,x,y,w,h\n" + "".join(rows))
    run = (*RUN, "--batch", "4", "-o")
    succeed(*run, "undisturbed")
    undisturbed, generator = contents("undisturbed"), random.Random(4)
    assert len(undisturbed) == count
    for wanted in moments:
        process = start(*run, "out")
        wait_for_output(process, "out", wanted)
        time.sleep(generator.uniform(0, 0.03))
        process.kill()
        process.communicate()
        assert faces("out").items() <= undisturbed.items(), "nothing half-written has a final name"
    succeed(*run, "out")
    assert contents("out") == undisturbed


def test_ctrl_c_keeps_what_is_finished(here: Path) -> None:
    write_onnx(Path("model.onnx"), lr_size=8, scale=16, work=12)
    Path("boxes.csv").write_text("frame,x,y,w,h\n" + "".join(f"{n},20,10,20,20\n" for n in range(COUNT)))
    run = (*RUN, "-o", "out", "--batch", "2")
    process = start(*run, command=INTERRUPTED)
    _, said = process.communicate()
    kept = len(faces("out"))
    assert process.returncode == 130 and f"out: {kept} done, {COUNT - kept} left of {COUNT}" in said, said
    assert f"out: {COUNT - kept} done, {kept} done before of {COUNT}" in succeed(*run).stderr


@contextmanager
def full_disk() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def read_only_folder() -> Iterator[None]:
    Path("out").mkdir()
    Path("out").chmod(0o555)
    with without_root(Path.cwd()):
        yield
    Path("out").chmod(0o755)


@pytest.mark.parametrize(
    ("trouble", "reason"), [(full_disk, "File too large"), (read_only_folder, "Permission denied")]
)
def test_a_disk_that_takes_nothing_is_one_sentence(
    here: Path, trouble: Callable[[], AbstractContextManager[None]], reason: str
) -> None:
    with fsr.load("model.onnx", "cpu") as upscaler:
        with trouble(), pytest.raises(InputError, match=f"cannot be written: {reason}"):
            upscaler.run("film.mkv", "out", boxes="boxes.csv", faces_only=True)
        assert faces("out") == {} and not list(Path("out").rglob("*.part"))
        summary = upscaler.run("film.mkv", "out", boxes="boxes.csv", faces_only=True)
    assert (summary.done, sorted(faces("out"))) == (COUNT, NAMES)


def test_threads_get_the_frames_that_they_ask_for_and_none_for_lost_ones() -> None:
    lost, count = {0, 5, 6, 39}, 40
    frames = InTurn(Decoded(number, f"frame {number}") for number in range(count) if number not in lost)
    found: dict[int, Decoded | None] = {}

    def ask(first: int) -> None:
        for number in range(first, count, 4):
            found[number] = frames.take(number)

    threads = [threading.Thread(target=ask, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {number for number, decoded in found.items() if decoded is None} == lost
    assert all(decoded.number == number for number, decoded in found.items() if decoded)
