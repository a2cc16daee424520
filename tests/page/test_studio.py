"""What the page does with pictures and films, without a page."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fsr_deploy.errors import FsrError, InputError
from fsr_deploy.faces.options import FrameOptions
from fsr_deploy.faces.pasting import enlarge
from fsr_deploy.films.survey import survey
from fsr_deploy.images.codec import encode_frame, write_frame
from fsr_deploy.images.resize import lr_face, resize
from fsr_deploy.page.limits import Limits
from fsr_deploy.page.studio import BOX_COLOUR, Studio, problem
from fsr_deploy.runtime.folder.upscale import RunOptions, upscale_files
from tests.faces.detectors import write_centerface
from tests.faces.scenes import INFO, Painter
from tests.fakes.plans import describe
from tests.films.drawn import draw

Start = Callable[..., Studio]


def negative(face: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return resize(255 - face, INFO.sr_shape)


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Start the work behind a page whose engine makes negatives, with a detector that sees faces where it is red."""

    def start(find: bool = False, upscale: int | None = None, limits: Limits | None = None) -> Studio:
        detector = str(write_centerface(tmp_path / "detector.onnx")) if find else None
        frames = FrameOptions(find_faces=detector, upscale=upscale)
        return Studio(Painter(negative), describe(), frames, "cpu", limits)

    return start


def saved(path: Path, height: int, width: int, red: bool = False) -> Path:
    picture = np.full((height, width, 3), 60, np.uint8)
    picture[..., 1] = np.arange(width) % 40
    if red:
        picture[height // 2 : height // 2 + 4, width // 2 : width // 2 + 4] = (255, 0, 0)
    write_frame(path, picture)
    return path


def test_a_face_becomes_what_fsr_run_makes_of_it(start: Start, tmp_path: Path) -> None:
    path = saved(tmp_path / "face.png", *INFO.lr_shape)
    shown = start().picture(path)
    options = RunOptions()
    upscale_files(Painter(negative), options.find(str(path), str(tmp_path / "out.png")), options)
    assert encode_frame(shown.after, ".png") == (tmp_path / "out.png").read_bytes()
    assert shown.before.shape == shown.after.shape == (*INFO.sr_shape, 3)
    assert (shown.faces, shown.upscaled, shown.notes) == (None, 1, ())


def test_a_larger_picture_without_a_detector_is_one_face_and_the_page_says_so(start: Start, tmp_path: Path) -> None:
    path = saved(tmp_path / "photo.png", 100, 160)
    shown = start().picture(path)
    assert np.array_equal(shown.before, resize(lr_face(read(path), INFO.lr_shape), INFO.sr_shape))
    assert shown.notes[0] == "Only its middle, 100x100 pixels, was taken."
    assert "reduced from 100x100 to the engine's 32x32 pixels" in shown.notes[1]
    assert shown.notes[1].endswith("start fsr-demo with --find-faces DETECTOR.onnx.")


def read(path: Path) -> NDArray[np.uint8]:
    from fsr_deploy.images.codec import read_frame

    return read_frame(path)


def test_the_faces_in_a_picture_are_found_and_pasted_back(start: Start, tmp_path: Path) -> None:
    path = saved(tmp_path / "photo.png", 120, 160, red=True)
    shown = start(find=True, upscale=2).picture(path)
    assert shown.faces is not None and shown.upscaled == len(shown.faces) >= 1
    assert shown.before.shape == shown.after.shape == (240, 320, 3)
    assert np.array_equal(shown.before, enlarge(read(path), 2))
    changed = np.argwhere((shown.before != shown.after).any(2))
    middle = changed.mean(0)
    assert np.abs(middle - (124, 164)).max() < 12, "only the face and what is around it has changed"
    assert np.array_equal(shown.after[:40], shown.before[:40])


def test_boxes_are_drawn_where_the_faces_are_and_the_picture_itself_stays(start: Start, tmp_path: Path) -> None:
    shown = start(find=True, upscale=2).picture(saved(tmp_path / "photo.png", 120, 160, red=True))
    before = shown.after.copy()
    drawn = shown.with_boxes(shown.after)
    assert np.array_equal(shown.after, before)
    assert shown.faces
    face = shown.faces[0]
    assert tuple(drawn[round(2 * face.y), round(2 * (face.x + face.w / 2))]) == BOX_COLOUR


def test_a_picture_without_faces_is_enlarged_and_the_page_says_so(start: Start, tmp_path: Path) -> None:
    shown = start(find=True).picture(saved(tmp_path / "wall.png", 48, 64))
    assert (shown.faces, shown.upscaled) == ((), 0)
    assert np.array_equal(shown.before, shown.after) and shown.after.shape == (192, 256, 3)
    assert shown.notes[0].startswith("No face was found")


def test_with_a_detector_a_picture_can_still_be_one_face(start: Start, tmp_path: Path) -> None:
    shown = start(find=True).picture(saved(tmp_path / "face.png", *INFO.lr_shape), one_face=True)
    assert shown.faces is None and shown.after.shape == (*INFO.sr_shape, 3)


def refused(work: Callable[[], object], path: Path) -> str:
    with pytest.raises(FsrError) as caught:
        work()
    return problem(caught.value, path)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "photo.png: empty"),
        (b"words", "photo.png: not a PNG, JPEG, WebP, BMP, TIFF, GIF or AVIF image"),
        (encode_frame(np.zeros((64, 64, 3), np.uint8), ".png")[:60], "photo.png: truncated"),
    ],
)
def test_a_bad_picture_is_one_sentence_without_a_path(
    start: Start, tmp_path: Path, content: bytes, sentence: str
) -> None:
    path = tmp_path / "photo.png"
    path.write_bytes(content)
    assert refused(lambda: start().picture(path), path) == sentence


def test_what_is_too_large_is_refused_before_it_is_decoded(start: Start, tmp_path: Path) -> None:
    path = saved(tmp_path / "photo.png", 50, 60)
    limits = replace(Limits(), pixels=20_000)
    said = refused(lambda: start(find=True, upscale=4, limits=limits).picture(path), path)
    assert said.startswith("photo.png: a picture of 60x50 pixels, enlarged 4 times 0.048 megapixels")
    assert said.endswith("take a smaller one, or start fsr-demo with a smaller --upscale")
    assert start(find=True, upscale=2, limits=limits).picture(path).after.shape == (100, 120, 3)
    said = refused(lambda: start(limits=replace(limits, pixels=2_000)).picture(path), path)
    assert said == "photo.png: a picture of 60x50 pixels; this page makes up to 0.002: take a smaller one"


def test_each_frame_of_a_film_is_a_face(start: Start, tmp_path: Path) -> None:
    path = draw(tmp_path / "film.mp4")
    (tmp_path / "made").mkdir()
    summary = start().film(path, tmp_path / "made", threading.Event())
    made = survey(summary.target)
    assert (summary.done, summary.stopped, made.upright) == (20, False, INFO.sr_shape)


@pytest.mark.parametrize(
    ("limits", "sentence"),
    [
        (Limits(film_frames=19), "film.mp4: a film of 20 frames; this page takes up to 19: cut a part out of it, or"),
        (Limits(film_pixels=1000), "film.mp4: a film of 32x32 pixels; this page makes up to 0.001: take a smaller one"),
    ],
)
def test_a_film_over_the_limits_is_refused(start: Start, tmp_path: Path, limits: Limits, sentence: str) -> None:
    path = draw(tmp_path / "film.mp4")
    assert refused(lambda: start(limits=limits).film(path, tmp_path, threading.Event()), path).startswith(sentence)


def test_a_film_that_is_none_is_one_sentence_without_a_path(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    path.write_bytes(b"words")
    said = refused(lambda: start().film(path, tmp_path, threading.Event()), path)
    assert said.startswith("film.mp4: cannot be read as a film: ")


def test_a_film_whose_visitor_has_gone_is_not_finished(start: Start, tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    assert start().film(draw(tmp_path / "film.mp4"), tmp_path, stop).stopped


def test_errors_of_the_machine_are_not_called_the_files() -> None:
    path = Path("/tmp/x/photo.png")
    assert problem(InputError("a face is wrong"), path) == "photo.png: a face is wrong"
    assert problem(FsrError("the GPU failed"), path) == "the GPU failed"
