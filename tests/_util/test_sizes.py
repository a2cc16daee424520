"""Sizes as users write them: one number for a square, or height and width."""

from __future__ import annotations

import pytest

from fsr_deploy._util.sizes import as_shape, as_size, by, checked_size, read_size, written
from fsr_deploy.errors import UsageError


@pytest.mark.parametrize(
    ("text", "size", "shape", "seen"),
    [("64", 64, (64, 64), "64x64"), ("90,160", (90, 160), (90, 160), "160x90"), ("64,64", 64, (64, 64), "64x64")],
)
def test_a_size_is_read_and_written_as_users_do(
    text: str, size: int | tuple[int, int], shape: tuple[int, int], seen: str
) -> None:
    found = read_size("--lr-size", text)
    assert found == size and as_shape(size) == shape and as_size(shape) == size and by(size) == seen
    assert read_size("--lr-size", written(size)) == size


@pytest.mark.parametrize("text", ["", "a", "16,", "1,2,3", "1.5", "16x24"])
def test_anything_else_is_refused_in_one_sentence(text: str) -> None:
    with pytest.raises(UsageError, match=f"--tile {text}: give the side in pixels, or HEIGHT,WIDTH"):
        read_size("--tile", text)


@pytest.mark.parametrize("value", [3, (16, 3), (16, 600), "16", (16, 16, 16), True, [16, 4.5]])
def test_a_size_from_python_is_checked_side_by_side(value: object) -> None:
    with pytest.raises(UsageError, match=r"--lr-size .*: give a whole number from 4 to 512"):
        checked_size("--lr-size", value, 4, 512)


def test_a_square_is_one_number_however_it_is_given() -> None:
    assert checked_size("--lr-size", [16, 24], 4) == (16, 24)
    assert checked_size("--lr-size", (16, 16), 4) == checked_size("--lr-size", 16, 4) == 16
    assert read_size("--lr-size", None) is None
