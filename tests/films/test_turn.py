"""Films of turned telephones come out upright."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fsr_deploy.films.survey import survey
from fsr_deploy.films.turn import Turn
from tests.films.drawn import draw, frames_of, restore


@pytest.mark.parametrize(("rotation", "turns"), [(90, 1), (-90, 3), (180, 2)])
def test_a_rotated_film_is_upright_and_asks_for_no_rotation(tmp_path: Path, rotation: int, turns: int) -> None:
    luma = np.arange(48 * 32, dtype=np.uint16).reshape(48, 32).astype(np.uint8) // 2 + 40
    grey = np.full_like(luma, 128)
    source = draw(tmp_path / "film.mp4", [[luma, grey, grey]], (0,), rotation=rotation)
    assert frames_of(source)[0].rotation == rotation or rotation == 180
    restore(source, tmp_path / "new.mp4", 1)
    (frame,) = frames_of(tmp_path / "new.mp4")
    assert frame.rotation == 0
    assert np.abs(frame.to_ndarray()[0].astype(int) - np.rot90(luma, turns)).max() <= 1
    assert survey(source).upright == ((48, 32) if turns % 2 else (32, 48))


def test_mirrors_are_applied_after_rows_and_columns_are_exchanged() -> None:
    pixels = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)
    assert (Turn(True, False, True)(pixels) == np.rot90(pixels)).all()
    assert (Turn(False, True, False)(pixels) == pixels[:, ::-1]).all()
    assert np.shares_memory(Turn()(pixels), pixels)
