"""The one way to an LR face, judged by Pillow itself."""

import numpy as np
import pytest
from PIL import Image

from fsr_deploy.images.resize import crop, lr_face, resize


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def pillow(frame: np.ndarray, width: int, height: int, box: tuple[int, int, int, int] | None = None) -> np.ndarray:
    """Return a box (left, top, right, bottom) of a frame as Pillow shrinks or enlarges it."""
    return np.asarray(Image.fromarray(frame).crop(box).resize((width, height), Image.Resampling.BICUBIC))


@pytest.mark.parametrize("shape", [(128, 128), (100, 37), (16, 16), (5, 9), (1, 1)])
@pytest.mark.parametrize("wanted", [(16, 16), (24, 16), (7, 7)])
def test_resizing_is_pillows_bicubic_up_and_down(shape: tuple[int, int], wanted: tuple[int, int]):
    np.testing.assert_array_equal(resize(noise(*shape), wanted), pillow(noise(*shape), wanted[1], wanted[0]))


@pytest.mark.parametrize(
    ("shape", "wanted", "box"),
    [
        ((128, 128), (16, 16), (0, 0, 128, 128)),
        ((218, 178), (16, 16), (0, 20, 178, 198)),
        ((100, 151), (16, 16), (25, 0, 125, 100)),
        ((100, 100), (24, 16), (16, 0, 83, 100)),
        ((9, 4), (16, 16), (0, 2, 4, 6)),
        ((1, 500), (16, 16), (249, 0, 250, 1)),
        ((500, 1), (16, 16), (0, 249, 1, 250)),
    ],
)
def test_a_face_is_the_middle_of_a_frame(shape: tuple[int, int], wanted: tuple[int, int], box: tuple):
    frame = noise(*shape)
    np.testing.assert_array_equal(crop(frame, wanted), np.asarray(Image.fromarray(frame).crop(box)))
    np.testing.assert_array_equal(lr_face(frame, wanted), pillow(frame, wanted[1], wanted[0], box))


def test_a_stretched_face_is_all_of_a_frame():
    np.testing.assert_array_equal(lr_face(noise(40, 90), (16, 16), "stretch"), pillow(noise(40, 90), 16, 16))


def test_a_frame_of_the_right_size_is_left_as_it_is():
    frame = noise(16, 16)
    assert lr_face(frame, (16, 16), "stretch") is frame
    np.testing.assert_array_equal(lr_face(frame, (16, 16)), frame)
