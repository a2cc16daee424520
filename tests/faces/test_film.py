"""What the code for films asks of whole frames."""

from __future__ import annotations

import numpy as np
import pytest

from fsr_deploy.errors import InputError
from fsr_deploy.faces.face import Face
from fsr_deploy.faces.film import FilmFrames
from fsr_deploy.faces.restorer import FrameRestorer, RestoreSettings
from tests.faces.scenes import Painter, bicubic, hills


def film(session: Painter, known: dict[int, list[Face]], upscale: int = 2) -> FilmFrames:
    return FilmFrames(session, FrameRestorer(session, RestoreSettings(upscale=upscale)), known)


def test_frames_are_restored_by_their_numbers() -> None:
    frames = [np.roll(hills(60, 80), n, 1) for n in range(4)]
    faces = {11: [Face(20, 20, 20, 20)], 13: [Face(5, 5, 15, 15), Face(40, 20, 100, 100)], 99: [Face(1, 1, 9, 9)]}
    restorer = film(bicubic(9), faces)
    assert restorer.size(80, 60) == (160, 120)
    done = restorer.restore(frames[:2], 10) + restorer.restore(frames[2:], 12)
    alone = FrameRestorer(bicubic(9), RestoreSettings(upscale=2))
    for number, (frame, found) in enumerate(zip(frames, done, strict=True), 10):
        assert np.array_equal(alone.restore(frame, faces.get(number, [])).frame, found)
    assert (restorer.count.upscaled, restorer.count.left, restorer.count.frames_without) == (2, 1, 2)


def test_what_the_frames_depend_on_is_in_their_hash() -> None:
    face = Face(1, 2, 9, 9)
    hashes = {
        film(bicubic(), {1: [face]}).made_with,
        film(bicubic(), {2: [face]}).made_with,
        film(bicubic(), {1: [face]}, upscale=3).made_with,
        film(bicubic(template=None), {1: [face]}).made_with,
    }
    assert len(hashes) == 4 and film(bicubic(), {1: [face]}).made_with in hashes


def test_a_face_that_cannot_be_used_is_left_out_and_named() -> None:
    restorer = film(bicubic(9), {7: [Face(500, 1, 9, 9), Face(20, 20, 20, 20)]})
    (frame,) = restorer.restore([hills(60, 80)], 7)
    assert restorer.failures == {7: "face 1, (500, 1, 9, 9), lies outside the frame's 80x60 pixels"}
    assert np.array_equal(frame, film(bicubic(9), {7: [Face(20, 20, 20, 20)]}).restore([hills(60, 80)], 7)[0])
    with pytest.raises(InputError, match="enlarged 2 times it has 20000x20000 pixels"):
        restorer.size(10000, 10000)
