from itertools import combinations

import cv2
import numpy as np
import pytest

from fsr_deploy.errors import InputError
from fsr_deploy.synthetic import draw_face, faces, write_faces


@pytest.mark.parametrize("size", [32, 128, 200])
def test_a_face_is_a_square_rgb_image_of_the_asked_size(size):
    face = draw_face(3, size)
    assert face.shape == (size, size, 3)
    assert face.dtype == np.uint8


@pytest.mark.parametrize("shape", [(96, 160), (160, 96), (64, 64)])
def test_a_face_of_other_proportions_is_the_middle_of_the_square_one(shape):
    side = max(shape)
    top, left = (side - shape[0]) // 2, (side - shape[1]) // 2
    assert np.array_equal(draw_face(3, shape), draw_face(3, side)[top : top + shape[0], left : left + shape[1]])


def test_the_same_seed_draws_the_same_face_and_another_seed_another():
    assert np.array_equal(list(faces(3, seed=5)), list(faces(3, seed=5)))
    drawn = [*faces(3, seed=5), *faces(3, seed=6)]
    assert all(np.abs(a.astype(int) - b).mean() > 5 for a, b in combinations(drawn, 2))


def test_a_longer_run_starts_with_the_shorter_one():
    assert np.array_equal(list(faces(2, seed=1)), list(faces(4, seed=1))[:2])


def test_faces_have_structure_that_an_eightfold_reduction_loses():
    for face in faces(8):
        small = cv2.resize(face, (16, 16), interpolation=cv2.INTER_AREA)
        back = cv2.resize(small, (128, 128), interpolation=cv2.INTER_CUBIC)
        assert 15 < cv2.PSNR(face, back) < 35


def test_a_folder_of_faces_is_written_large_or_small(tmp_path):
    for folder, lr_size, side in (("hr", None, 128), ("lr", 16, 16)):
        paths = write_faces(tmp_path / folder, 3, lr_size)
        assert [path.name for path in paths] == ["face_00000.png", "face_00001.png", "face_00002.png"]
        assert all(cv2.imread(str(path)).shape == (side, side, 3) for path in paths)


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "face_00000.png").mkdir()
    with pytest.raises(InputError, match=r"face_00000\.png: cannot be written"):
        write_faces(tmp_path, 1)
