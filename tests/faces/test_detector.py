"""Detectors that users bring. The graphs here are like the real ones in inputs, outputs and decoding;
tests/integration/test_centerface.py runs a real one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fsr_deploy.errors import InputError
from fsr_deploy.faces import detector as module
from fsr_deploy.faces.detector import KNOWN, open_detector
from fsr_deploy.images.opencv import cv2
from tests.engines import write_onnx
from tests.faces.detectors import MARKS, SIDE, write_centerface, write_yunet

MAKE = {"CenterFace": write_centerface, "YuNet": write_yunet}


def scene(height: int, width: int, *places: tuple[float, float], cell: int = 8) -> NDArray[np.uint8]:
    """A blue scene with red cells around points that are the middles of cells."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[..., 2] = 255
    for x, y in places:
        half = cell / 2
        pixels[int(y - half) : int(y + half), int(x - half) : int(x + half)] = (255, 0, 0)
    return pixels


@pytest.fixture
def as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small frames are not enlarged for the search."""
    monkeypatch.setattr(module, "ENLARGED_BY", 1.0)


@pytest.mark.usefixtures("as_it_is")
@pytest.mark.parametrize("kind", list(MAKE))
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_detector_is_known_by_its_inputs_and_outputs_and_finds_faces(tmp_path: Path, kind: str, dtype: type) -> None:
    """In a frame of any size, also where the file fixes another one."""
    detector = open_detector(MAKE[kind](tmp_path / "any name.onnx"), "cpu", threads=1)
    cell, centre = (4, 2) if kind == "CenterFace" else (8, 4)
    places = [(80.0 + centre, 40.0 + centre), (16.0 + centre, 96.0 + centre)]
    frame = scene(123, 210, *places, cell=cell).astype(dtype) * (257 if dtype is np.uint16 else 1)
    found = detector.find(frame)
    assert detector.title == kind
    assert sorted((face.x + face.w / 2, face.y + face.h / 2) for face in found) == sorted(places)
    for face in found:
        assert (face.w, face.h) == pytest.approx((SIDE, SIDE), abs=0.01) and face.score and face.score > 0.9
        expected = MARKS * SIDE + (face.x, face.y)
        assert np.asarray(face.landmarks) == pytest.approx(expected, abs=0.02)
    assert detector.find(scene(123, 210)) == ()


@pytest.mark.parametrize("kind", list(MAKE))
def test_a_large_frame_is_searched_at_a_bounded_size(tmp_path: Path, kind: str) -> None:
    detector = open_detector(MAKE[kind](tmp_path / "d.onnx"), "cpu", threads=1)
    cell, centre = (4, 2) if kind == "CenterFace" else (8, 4)
    small = scene(640, 1280, (320.0 + centre, 160.0 + centre), cell=cell)
    large = small.repeat(3, 0).repeat(3, 1)
    (face,) = detector.find(small)
    (tripled,) = detector.find(large)
    assert tripled.box == pytest.approx([3 * side for side in face.box], abs=0.01)
    assert np.asarray(tripled.landmarks) == pytest.approx(3 * np.asarray(face.landmarks), abs=0.01)


@pytest.mark.parametrize("kind", list(MAKE))
def test_a_small_frame_is_searched_twice_as_large(tmp_path: Path, kind: str) -> None:
    """So a face is found of which there is only half a cell in each direction."""
    detector = open_detector(MAKE[kind](tmp_path / "d.onnx"), "cpu", threads=1)
    half = 2 if kind == "CenterFace" else 4
    (face,) = detector.find(scene(80, 120, (16 + half / 2, 32 + half / 2), cell=half))
    assert (face.x + face.w / 2, face.y + face.h / 2) == pytest.approx((16 + half / 2, 32 + half / 2), abs=0.1)
    assert face.w == pytest.approx(SIDE / 2, abs=0.1)


@pytest.mark.usefixtures("as_it_is")
@pytest.mark.parametrize("stride", [8, 16, 32])
def test_yunet_is_decoded_as_opencv_decodes_it(tmp_path: Path, stride: int) -> None:
    path = write_yunet(tmp_path / "yunet.onnx", stride)
    frame = scene(192, 256, (160.0 + stride / 2, 96.0 + stride / 2), cell=stride)
    judge = cv2.FaceDetectorYN.create(str(path), "", (256, 192), 0.7, 0.3)
    _, expected = judge.detect(np.ascontiguousarray(frame[..., ::-1]))
    assert expected is not None and len(expected) == 1
    (face,) = open_detector(path, "cpu", threads=1).find(frame)
    ours = [*face.box, *np.asarray(face.landmarks).ravel(), face.score]
    assert ours == pytest.approx(expected[0], abs=0.01)


def test_a_graph_that_works_at_one_size_only_is_shown_that_size(tmp_path: Path) -> None:
    detector = open_detector(write_yunet(tmp_path / "d.onnx", fixed=64), "cpu", threads=1)
    frame = scene(64, 64, (36.0, 20.0)).repeat(4, 0).repeat(4, 1)[:200]
    (face,) = detector.find(frame)
    assert (face.x + face.w / 2, face.y + face.h / 2, face.w) == pytest.approx((144, 80, 4 * SIDE), abs=0.1)


def test_a_graph_that_fails_at_a_size_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    detector = open_detector(write_centerface(tmp_path / "c.onnx"), "cpu")
    monkeypatch.setattr(detector, "_session", None)
    with pytest.raises(InputError, match=r"CenterFace fails at 64x48 pixels: .*take another detector"):
        detector.find(np.zeros((48, 64, 3), np.uint8))


@pytest.mark.usefixtures("as_it_is")
def test_of_boxes_that_overlap_the_surest_stays(tmp_path: Path) -> None:
    frame = scene(128, 128, (66.0, 66.0), cell=4)
    frame[64:68, 68:72] = (200, 0, 55)  # a second face, less red, one cell to the right
    (face,) = open_detector(write_centerface(tmp_path / "d.onnx"), "cpu", threads=1).find(frame)
    assert face.x + face.w / 2 == pytest.approx(66)


def test_what_is_no_detector_is_one_sentence_that_names_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        open_detector(write_onnx(tmp_path / "engine.onnx"), "cpu")
    assert str(caught.value) == f"{tmp_path / 'engine.onnx'}: not a face detector that is known here; take {KNOWN}"
    (tmp_path / "text.onnx").write_text("no graph at all")
    (tmp_path / "cut.onnx").write_bytes(write_centerface(tmp_path / "d.onnx").read_bytes()[:-9])
    (tmp_path / "empty.onnx").write_bytes(b"")
    for name in ("text.onnx", "cut.onnx", "empty.onnx"):
        with pytest.raises(InputError) as caught:
            open_detector(tmp_path / name, "cpu")
        message = str(caught.value)
        assert message.startswith(f"{tmp_path / name}: no face detector: ") and message.endswith(f"; take {KNOWN}")
        assert "\n" not in message
    for name in ("missing.onnx", "."):
        with pytest.raises(InputError, match=r"cannot be read: No such file|not a file"):
            open_detector(tmp_path / name, "cpu")
