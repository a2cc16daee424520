import cv2
import numpy as np
import pytest

from fsr_deploy.runtime.sizes import Fit, SizeCount, fit


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def test_a_frame_of_the_engines_size_is_left_as_it_is():
    frame = noise(16, 16)
    assert fit(frame, (16, 16)) == (frame, Fit.AS_IS)


def test_a_larger_frame_is_averaged_over_areas():
    frame = noise(32, 48)
    face, done = fit(frame, (16, 16))
    expected = frame.reshape(16, 2, 16, 3, 3).mean((1, 3))
    assert done is Fit.REDUCED
    assert np.abs(face - expected).max() <= 1


def test_a_smaller_frame_is_enlarged_by_bicubic_interpolation():
    face, done = fit(noise(8, 8), (16, 16))
    assert done is Fit.ENLARGED
    np.testing.assert_array_equal(face, cv2.resize(noise(8, 8), (16, 16), interpolation=cv2.INTER_CUBIC))


@pytest.mark.parametrize("shape", [(8, 64), (64, 8), (16, 64), (1, 1), (1, 500)])
def test_a_frame_of_any_proportions_becomes_a_face(shape: tuple[int, int]):
    assert fit(noise(*shape), (16, 16))[0].shape == (16, 16, 3)


def test_faces_that_are_not_square_keep_height_and_width_apart():
    assert fit(noise(40, 40), (24, 16))[0].shape == (24, 16, 3)


def count(*shapes: tuple[int, int]) -> SizeCount:
    sizes = SizeCount((16, 16))
    for shape in shapes:
        sizes.add(shape, fit(noise(*shape), (16, 16))[1])
    return sizes


def test_nothing_is_told_of_frames_of_the_right_size():
    sizes = count((16, 16), (16, 16))
    assert sizes.lines() == sizes.warnings() == []


def test_resizing_is_told_in_one_line_with_counts():
    assert count((16, 16), (20, 20), (8, 8), (22, 22)).lines() == [
        "frames resized to the engine's 16x16: 1 of the engine's size, 1 enlarged, 2 reduced"
    ]


def test_lost_detail_is_told_with_the_size_that_would_keep_it():
    assert count((24, 24), (25, 25), (40, 40)).warnings() == [
        "detail was thrown away in 2 of the frames, larger than 1.5 times 16x16; an engine exported with --lr-size 40"
        " would keep it"
    ]


def test_stretched_frames_are_told():
    assert count((16, 16), (16, 20)).warnings() == [
        "1 of the frames were stretched, because their proportions are not the engine's; crop the faces first"
    ]
