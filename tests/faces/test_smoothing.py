"""Faces in films: what is steady stays, what shakes is calmed, what was missed for a moment is there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from fsr_deploy.faces.face import Face
from fsr_deploy.faces.smoothing import LOOK_AHEAD, MISSED, SceneCuts, Seen, smoothed
from tests.faces.scenes import hills


def at(x: float, y: float = 50, side: float = 40) -> Face:
    return Face(x, y, side, side, ((x, y), (x + side, y), (x + 9, y), (x, y + side), (x + side, y + side)), 0.9)


def run(*frames: Sequence[Face], cuts: Sequence[int] = ()) -> list[tuple[Face, ...]]:
    stream = [Seen(100 + 2 * index, faces, index in cuts) for index, faces in enumerate(frames)]
    found = list(smoothed(stream))
    assert [number for number, _ in found] == [seen.number for seen in stream]
    return [faces for _, faces in found]


def test_a_face_that_moves_evenly_stays_where_it_was() -> None:
    path = [[at(10 + 3 * n, 20 + n)] for n in range(20)]
    for (given,), (found,) in zip(path, run(*path), strict=True):
        assert found.box == pytest.approx(given.box)
        assert np.asarray(found.landmarks) == pytest.approx(np.asarray(given.landmarks))
        assert found.score == given.score


def test_a_face_that_shakes_is_calmed() -> None:
    path = [[at(50 + (-1) ** n)] for n in range(20)]
    steps = np.diff([faces[0].x for faces in run(*path)])
    assert np.abs(steps[3:-3]).max() < 0.3 and np.abs(steps).max() <= 2


@pytest.mark.parametrize("missed", range(1, MISSED + 2))
def test_a_face_that_is_missed_for_some_frames_is_put_in_between(missed: int) -> None:
    path: list[list[Face]] = [[at(10 + n)] for n in range(20)]
    for n in range(8, 8 + missed):
        path[n] = []
    found = run(*path)
    for n in range(8, 8 + missed):
        assert [face.x for face in found[n]] == ([pytest.approx(10 + n)] if missed <= MISSED else [])
        assert all(face.score is None for face in found[n])
    assert all(len(found[n]) == 1 for n in (*range(8), *range(8 + missed, 20)))


def test_nothing_goes_on_into_another_scene() -> None:
    path: list[list[Face]] = [[at(10)]] * 6 + [[]] * 2 + [[at(14)]] * 6
    assert [len(faces) for faces in run(*path)] == [1] * 14
    found = run(*path, cuts=[7])
    assert [len(faces) for faces in found] == [1] * 6 + [0] * 2 + [1] * 6
    assert {faces[0].x for faces in found if faces} == {10, 14}
    near = run(*[[at(10)]] * 5, *[[at(12)]] * 5, cuts=[5])
    assert [faces[0].x for faces in near] == [10] * 5 + [12] * 5


def test_faces_that_pass_each_other_and_come_and_go_are_kept_apart() -> None:
    path = [[at(10 + n), at(200 - n, 60)] if n % 2 else [at(200 - n, 60), at(10 + n)] for n in range(12)]
    path[6:] = [[faces[0]] if n % 2 else [faces[1]] for n, faces in enumerate(path[6:])]
    found = run(*path)
    assert all(min(face.x for face in faces) == pytest.approx(10 + n) for n, faces in enumerate(found))
    assert [len(faces) for faces in found] == [2] * 6 + [1] * 6


def test_a_face_without_landmarks_is_averaged_without_them() -> None:
    path = [[at(10)], [replace(at(10), landmarks=None)], [at(10)]]
    assert [faces[0].landmarks is None for faces in run(*path)] == [False, True, False]


def test_no_more_frames_are_taken_than_have_to_be_seen() -> None:
    taken = 0

    def stream() -> object:
        nonlocal taken
        for n in range(30):
            taken += 1
            yield Seen(n, [at(n)])

    for told, _ in smoothed(stream()):  # type: ignore[arg-type]
        assert taken <= told + LOOK_AHEAD + 1


def test_a_film_without_faces_or_frames_is_one() -> None:
    assert run() == []
    assert run([], [], []) == [(), (), ()]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_new_scene_is_seen_and_a_moving_one_is_not(dtype: type) -> None:
    cuts = SceneCuts()
    level = 257 if dtype is np.uint16 else 1
    scene = hills(120, 200, dtype)
    frames = [scene, np.roll(scene, 4, 1), np.roll(scene, 8, 1), np.full_like(scene, 20 * level), scene // 20]
    assert [cuts(frame) for frame in frames] == [False, False, False, True, False]
