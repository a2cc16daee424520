"""Faces in films: steady over time, also where a detector misses one for some frames."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from fsr_deploy.faces.cutting import Frame, to_8_bits
from fsr_deploy.faces.face import Face
from fsr_deploy.images.opencv import cv2

MISSED = 5  # frames for which a face may be missed
REACH = 2  # frames before and after that a face is averaged with
LOOK_AHEAD = MISSED + REACH  # frames that have to be seen before a face is known for good
SAME = 0.3  # the least part of their area that the boxes of one face share in two frames
_WEIGHTS = {0: (1.0,), 1: (1.0, 2.0, 1.0), 2: (1.0, 4.0, 6.0, 4.0, 1.0)}


@dataclass(frozen=True)
class Seen:
    """The faces that were found in a frame of a film; ``cut`` tells that a new scene begins with it."""

    number: int
    faces: Sequence[Face]
    cut: bool = False


@dataclass
class _Track:
    """One face over time: its places in all frames from ``start`` (counted from the film's first) on."""

    start: int
    faces: list[Face] = field(default_factory=list)

    @property
    def end(self) -> int:
        """The frame after its last."""
        return self.start + len(self.faces)

    def go_on(self, at: int, face: Face) -> None:
        """Add a later place, with those in between on a line."""
        last, gap = self.faces[-1], at - self.end + 1
        self.faces += [_between(last, face, step / gap) for step in range(1, gap)]
        self.faces.append(face)

    def at(self, frame: int) -> Face:
        """Return the place in a frame, averaged with as many before as after it: what moves evenly stays in place."""
        index = frame - self.start
        reach = min(REACH, index, self.end - 1 - frame)
        return _mean(self.faces[index], self.faces[index - reach : index + reach + 1], _WEIGHTS[reach])


def smoothed(stream: Iterable[Seen]) -> Iterator[tuple[int, tuple[Face, ...]]]:
    """Yield each frame's number and its faces, once LOOK_AHEAD more frames were taken from ``stream``, in its order.

    Boxes and landmarks are averaged over REACH frames on either side. A face that is missed in up to MISSED frames is
    put on the line between its places before and after, without a score. Both end where a new scene begins.
    """
    tracks: list[_Track] = []
    numbers: list[int] = []
    scene = told = 0
    for at, seen in enumerate(stream):
        scene = at if seen.cut else scene
        numbers.append(seen.number)
        _follow(tracks, at, seen.faces, scene)
        while told <= at - LOOK_AHEAD:
            yield numbers[told], _faces_at(tracks, told)
            told += 1
        tracks = [track for track in tracks if track.end > at - MISSED - 1 or track.end > told - REACH]
    for frame in range(told, len(numbers)):
        yield numbers[frame], _faces_at(tracks, frame)


def _faces_at(tracks: Sequence[_Track], frame: int) -> tuple[Face, ...]:
    return tuple(track.at(frame) for track in tracks if track.start <= frame < track.end)


def _follow(tracks: list[_Track], at: int, faces: Sequence[Face], scene: int) -> None:
    """Add the faces of a frame to the tracks of this scene that they go on with, the most alike first."""
    open_tracks = [track for track in tracks if track.start >= scene and at - track.end <= MISSED]
    pairs = sorted(
        (-_shared(track.faces[-1], face), t, f) for t, track in enumerate(open_tracks) for f, face in enumerate(faces)
    )
    taken: dict[int, int] = {}
    for alike, t, f in pairs:
        if -alike >= SAME and t not in taken and f not in taken.values():
            taken[t] = f
    for t, f in taken.items():
        open_tracks[t].go_on(at, faces[f])
    tracks += [_Track(at, [face]) for f, face in enumerate(faces) if f not in taken.values()]


def _shared(one: Face, other: Face) -> float:
    """Return the area that two boxes share, as a part of the area of both together."""
    width = min(one.x + one.w, other.x + other.w) - max(one.x, other.x)
    height = min(one.y + one.h, other.y + other.h) - max(one.y, other.y)
    both = max(0.0, width) * max(0.0, height)
    return both / (one.w * one.h + other.w * other.h - both)


def _between(one: Face, other: Face, part: float) -> Face:
    return replace(_mean(one, (one, other), (1 - part, part)), score=None)


def _mean(face: Face, faces: Sequence[Face], weights: Sequence[float]) -> Face:
    """Return a face with the mean box and landmarks of several; without landmarks, where one has none."""
    total = sum(weights)

    def mean(numbers: Iterable[float]) -> float:
        return sum(weight * number for weight, number in zip(weights, numbers, strict=True)) / total

    x, y, w, h = (mean(sides) for sides in zip(*(one.box for one in faces), strict=True))
    marks = [one.landmarks for one in faces if one.landmarks]
    points = None
    if len(marks) == len(faces):
        points = tuple((mean(x for x, _ in point), mean(y for _, y in point)) for point in zip(*marks, strict=True))
    return Face(x, y, w, h, points, face.score)


class SceneCuts:
    """Tells where new scenes begin: call it with each frame of a film in turn."""

    STEP = 45  # levels by which two pictures of 32x32 pixels differ on average where the scene is another

    def __init__(self) -> None:
        self._before: NDArray[np.int16] | None = None

    def __call__(self, frame: Frame) -> bool:
        """Return whether an (h, w, 3) uint8 or uint16 RGB frame begins a new scene; False for the first."""
        small = cv2.resize(to_8_bits(frame), (32, 32), interpolation=cv2.INTER_AREA).astype(np.int16)
        before, self._before = self._before, small
        return before is not None and float(np.abs(small - before).mean()) > self.STEP
