"""Pictures in files, judged by Pillow, another library than the one that writes."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fsr_deploy.errors import InputError
from fsr_deploy.images.codec import write_frame
from tests.images.test_codec import gradient


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".tiff", ".PNG"])
def test_a_lossless_format_is_written_exactly(tmp_path: Path, suffix: str):
    write_frame(tmp_path / f"face{suffix}", gradient())
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / f"face{suffix}")), gradient())


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".webp"])
def test_a_lossy_format_is_written_closely_and_with_the_right_colours(tmp_path: Path, suffix: str):
    write_frame(tmp_path / f"face{suffix}", gradient())
    written = np.asarray(Image.open(tmp_path / f"face{suffix}"), np.int16)
    assert np.abs(written - gradient()).mean() < 2.5


def test_a_jpeg_keeps_full_colour_resolution(tmp_path: Path):
    write_frame(tmp_path / "face.jpg", gradient())
    with Image.open(tmp_path / "face.jpg") as picture:
        assert [component[1:3] for component in picture.layer] == [(1, 1)] * 3


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "face.png"
    write_frame(path, gradient())
    old = path.read_bytes()

    def disk_full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", disk_full)
    with pytest.raises(InputError, match=r"face\.png: cannot be written: No space left on device"):
        write_frame(path, 255 - gradient())
    assert path.read_bytes() == old
    assert [p.name for p in tmp_path.iterdir()] == ["face.png"]


def test_a_written_file_has_the_usual_permissions(tmp_path: Path):
    write_frame(tmp_path / "face.png", gradient())
    (tmp_path / "other").touch()
    assert (tmp_path / "face.png").stat().st_mode == (tmp_path / "other").stat().st_mode


@pytest.mark.parametrize("name", ["face.gif", "face"])
def test_a_format_that_cannot_be_written_is_refused(tmp_path: Path, name: str):
    with pytest.raises(InputError, match=r"not a format that can be written; use one of \.png, \.jpg"):
        write_frame(tmp_path / name, gradient())


def test_a_picture_too_wide_for_its_format_is_refused(tmp_path: Path):
    with pytest.raises(InputError, match=r"17000x1 pixels cannot be written as \.webp"):
        write_frame(tmp_path / "face.webp", np.zeros((1, 17000, 3), np.uint8))
