"""Whole frames: geometry, seams and what happens to faces of all kinds, on drawn scenes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fsr_deploy.errors import InputError, UsageError
from fsr_deploy.faces.cutting import cut
from fsr_deploy.faces.face import Face
from fsr_deploy.faces.geometry import ENLARGED, RAISED, region_of, similarity
from fsr_deploy.faces.pasting import FADE, enlarge
from fsr_deploy.faces.restorer import FrameRestorer, RestoreSettings
from fsr_deploy.images.resize import lr_face
from tests.faces.scenes import INFO, TEMPLATE, Painter, bicubic, dot, face_at, hills, identity, middle_of_light

TURNS = (0.0, 3.0, 20.0, -35.0, 90.0, 170.0)


@pytest.mark.parametrize("degrees", TURNS)
def test_landmarks_come_to_lie_where_the_template_has_them(degrees: float) -> None:
    face = face_at(150.3, 131.8, 120, degrees)
    region = region_of(face, (64, 64), TEMPLATE)
    for (x, y), (at_x, at_y) in zip(face.landmarks or (), TEMPLATE, strict=True):
        found = middle_of_light(cut(dot(260, 300, x, y), region, (64, 64)))
        assert np.abs(np.subtract(found, (64 * at_x, 64 * at_y))).max() < 0.25


@pytest.mark.parametrize("degrees", TURNS)
@pytest.mark.parametrize("upscale", [1, 2, 4])
def test_what_is_pasted_back_lies_where_it_was(degrees: float, upscale: int) -> None:
    """To a quarter of a pixel of the enlarged frame."""
    face = face_at(90.3, 81.8, 100, degrees)
    restorer = FrameRestorer(identity(100), RestoreSettings(upscale=upscale))
    for x, y in face.landmarks or ():
        restored = restorer.restore(dot(160, 180, x, y), [face])
        assert restored.frame is not None and restored.frame.shape == (160 * upscale, 180 * upscale, 3)
        assert restored.skipped == 0
        assert np.abs(np.subtract(middle_of_light(restored.frame), (upscale * x, upscale * y))).max() < 0.25


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("degrees", TURNS)
def test_an_engine_that_changes_nothing_changes_no_frame(degrees: float, dtype: type) -> None:
    scene = hills(260, 300, dtype)
    level = 257 if dtype is np.uint16 else 1
    restored = FrameRestorer(identity(100), RestoreSettings(upscale=1)).restore(
        scene, [face_at(150, 130, 100, degrees)]
    )
    assert restored.frame is not None and restored.frame.dtype == dtype and restored.skipped == 0
    off = np.abs(restored.frame.astype(int) - scene).max() / level
    assert off <= 1


def test_without_a_turn_the_lr_face_is_that_of_the_recipe() -> None:
    scene = hills(200, 300)
    side = 100
    box = side / ENLARGED
    region = region_of(Face(125 - box / 3, 90 + RAISED * side - box / 2, box / 1.5, box), (16, 16))
    window = scene[40:140, 75:175]
    assert np.array_equal(cut(scene, region, (16, 16)), lr_face(window, (16, 16)))
    aligned = region_of(face_at(125, 90, side), (16, 16), TEMPLATE)
    assert np.array_equal(cut(scene, aligned, (16, 16)), lr_face(window, (16, 16)))
    as_16_bits = scene.astype(np.uint16) * 257
    assert np.array_equal(cut(as_16_bits, region, (16, 16)), lr_face(window, (16, 16)))


@pytest.mark.parametrize("degrees", [0.0, 25.0])
def test_fine_stripes_leave_no_moire(degrees: float) -> None:
    """A pattern too fine for the LR face becomes grey, whether the face is turned or not."""
    scene = np.zeros((300, 300, 3), np.uint8)
    scene[:, ::2] = 255
    region = region_of(face_at(150, 150, 160, degrees), (16, 16), TEMPLATE)
    picture = cut(scene, region, (16, 16))
    assert np.abs(picture.astype(int) - 127.5).max() < 6


@pytest.mark.parametrize("degrees", [0.0, 25.0])
@pytest.mark.parametrize("brighter", [0, 25])
def test_there_is_no_seam(degrees: float, brighter: int) -> None:
    """At the rim of the mask the picture is as steep as on either side of it, also where the engine changes colours."""
    scene = hills(300, 300)
    restorer = FrameRestorer(bicubic(brighter), RestoreSettings(upscale=4))
    face = face_at(150, 150, 110, degrees)
    restored = restorer.restore(scene, [face]).frame
    assert restored is not None
    steep = np.hypot(*np.gradient(restored.astype(float).mean(-1)))
    matrix = region_of(face, (32, 32), TEMPLATE).to_frame(4)
    y, x = np.mgrid[0:1200, 0:1200] + 0.5
    u, v = np.einsum("ij,jyx->iyx", np.linalg.inv(matrix[:, :2]), np.stack([x - matrix[0, 2], y - matrix[1, 2]]))
    inwards = np.minimum(np.minimum(u, 1 - u), np.minimum(v, 1 - v))  # 0 at the rim

    def steepness(low: float, high: float) -> float:
        return float(steep[(inwards > low) & (inwards <= high)].mean())

    for rim in (0.0, FADE):
        around = (steepness(rim - 0.03, rim - 0.005) + steepness(rim + 0.005, rim + 0.03)) / 2
        assert steepness(rim - 0.005, rim + 0.005) == pytest.approx(around, rel=0.1)


def test_a_frame_without_faces_is_enlarged() -> None:
    scene = hills(40, 60)
    session = bicubic()
    restored = FrameRestorer(session, RestoreSettings(upscale=3)).restore(scene, [])
    assert np.array_equal(restored.frame, enlarge(scene, 3)) and restored.frame.shape == (120, 180, 3)
    assert (restored.faces, restored.sr_faces, restored.skipped, session.batches) == ((), (), 0, [])


@pytest.mark.parametrize("face", [Face(-20, -10, 50, 50), Face(280, 170, 40, 60), face_at(5, 5, 90, 30)])
def test_a_face_at_the_frames_edge_goes_on_with_its_pixels(face: Face) -> None:
    scene = hills(200, 300)
    before = scene.copy()
    restored = FrameRestorer(bicubic(), RestoreSettings(upscale=2)).restore(scene, [face]).frame
    assert restored is not None and np.array_equal(scene, before)
    assert np.abs(restored.astype(int) - enlarge(scene, 2)).max() < 12


def test_a_face_that_is_large_already_stays_unless_all_are_wanted() -> None:
    scene = hills(400, 400)
    faces = [Face(10, 10, 128 / ENLARGED, 60), Face(150, 150, 130, 130)]
    restored = FrameRestorer(bicubic(20)).restore(scene, faces)
    assert (restored.faces, len(restored.sr_faces), restored.skipped) == ((faces[0],), 1, 1)
    assert restored.frame is not None
    assert np.array_equal(restored.frame[800:, 800:], enlarge(scene, 4)[800:, 800:])
    every = FrameRestorer(bicubic(20), RestoreSettings(all_faces=True)).restore(scene, faces)
    assert (len(every.sr_faces), every.skipped) == (2, 0)


def test_of_two_faces_that_overlap_the_larger_one_is_in_front() -> None:
    scene = np.full((200, 200, 3), 100, np.uint8)
    levels = iter((10, 240))  # of the first and the second face
    restorer = FrameRestorer(Painter(lambda face: np.full((128, 128, 3), next(levels), np.uint8), replace(INFO)))
    large, small = Face(60, 60, 70, 70), Face(80, 80, 30, 30)
    restorer.batches.size = 2
    restored = restorer.restore(scene, [large, small]).frame
    assert restored is not None and restored[4 * 95, 4 * 95, 0] == 10


def test_faces_of_several_frames_go_through_the_engine_together_and_do_not_depend_on_each_other() -> None:
    scenes = [hills(200, 300), hills(100, 100, np.uint16), hills(90, 120)]
    faces = [[Face(20, 20, 40, 40), Face(90, 90, 30, 30)], [], [Face(30, 30, 30, 30)] * 3]
    session = bicubic(9)
    together = FrameRestorer(session).restore_all(scenes, faces)
    assert session.batches == [4, 4]
    for scene, known, one in zip(scenes, faces, together, strict=True):
        alone = FrameRestorer(bicubic(9)).restore(scene, known)
        assert np.array_equal(alone.frame, one.frame) and len(one.sr_faces) == len(known)


def test_the_faces_alone_need_no_room_for_the_frame() -> None:
    scene = np.zeros((6000, 6000, 3), np.uint8)
    settings = RestoreSettings(faces_only=True)
    restored = FrameRestorer(bicubic(), settings).restore(scene, [Face(5, 5, 20, 20)])
    assert restored.frame is None and restored.sr_faces[0].shape == (128, 128, 3)


class Everywhere:
    def find(self, frame: Any) -> list[Face]:
        return [Face(0, 0, frame.shape[1] / ENLARGED, frame.shape[0] / ENLARGED)]


def test_without_faces_the_finder_is_asked() -> None:
    assert len(FrameRestorer(bicubic(), finder=Everywhere()).restore(hills(90, 90)).sr_faces) == 1
    with pytest.raises(UsageError, match="no faces were given, and no detector that finds them"):
        FrameRestorer(bicubic()).restore(hills(90, 90))


NAN = float("nan")
BAD = {
    "face 1, (1, nan, 5, 5), has a number that is not finite": Face(1, NAN, 5, 5),
    "face 1, (1, 1, 0, 5), has no area": Face(1, 1, 0, 5),
    "face 1, (1, 1, 5, -5), has no area": Face(1, 1, 5, -5),
    "face 1, (60, 1, 5, 5), lies outside the frame's 60x40 pixels": Face(60, 1, 5, 5),
    "face 1, (-5, 1, 5, 5), lies outside the frame's 60x40 pixels": Face(-5, 1, 5, 5),
    "face 1, (1, 1, 5, 1e+06), does not fit into the frame's 60x40 pixels": Face(1, 1, 5, 1e6),
    "face 1, (1, 1, 5, 5), does not fit into the frame's 60x40 pixels; are its landmarks in the order of the"
    " documentation?": Face(1, 1, 5, 5, ((1, 1), (1, 1 + 1e-9), (1, 1), (1, 1), (1, 1))),
    "face 1, (1, 1, 5, 5), has 1 landmarks instead of 5": Face(1, 1, 5, 5, ((1, 1),)),
    "face 1, (1, 1, 5, 5), has all landmarks in one point": Face(1, 1, 5, 5, ((1, 1),) * 5),
    "face 1, (1, 1, 5, 5), has a number that is not finite ": Face(1, 1, 5, 5, ((NAN, 1),) * 5),
}


@pytest.mark.parametrize("message", list(BAD))
def test_a_face_that_is_none_is_refused(message: str) -> None:
    with pytest.raises(InputError) as caught:
        FrameRestorer(bicubic()).restore(hills(40, 60), [BAD[message]])
    assert str(caught.value) == message.strip()


def test_frames_that_are_none_or_too_large_are_refused() -> None:
    for frame in (np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((0, 4, 3), np.uint8)):
        with pytest.raises(InputError, match="give uint8 or uint16 RGB of shape"):
            FrameRestorer(bicubic()).restore(frame, [])
    with pytest.raises(InputError, match="enlarged 4 times it has 24000x24000 pixels, over the limit of 134217728"):
        FrameRestorer(bicubic()).restore(np.zeros((6000, 6000, 3), np.uint8), [])
    for options in ({"upscale": 0}, {"upscale": 9}, {"upscale": 2.5}, {"filter": "nearest"}, {"all_faces": 1}):
        with pytest.raises(UsageError):
            RestoreSettings(**options)  # type: ignore[arg-type]


def test_the_similarity_is_the_nearest_one() -> None:
    rng = np.random.default_rng(0)
    points = rng.normal(size=(5, 2))
    turn = np.array([[np.cos(2), -np.sin(2)], [np.sin(2), np.cos(2)]])
    scale, angle, shift = similarity(points, 3 * points @ turn.T + (4, 5))
    assert (scale, angle) == (pytest.approx(3), pytest.approx(2)) and shift == pytest.approx([4, 5])
    noisy = 3 * points @ turn.T + rng.normal(size=(5, 2))

    def miss(scale: float, angle: float, shift: Any) -> float:
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        return float(((scale * points @ turn.T + shift - noisy) ** 2).sum())

    best = similarity(points, noisy)
    for step in ((0.01, 0, 0), (-0.01, 0, 0), (0, 0.01, 0), (0, -0.01, 0), (0, 0, 0.01), (0, 0, -0.01)):
        assert miss(best[0] + step[0], best[1] + step[1], best[2] + step[2]) > miss(*best)
