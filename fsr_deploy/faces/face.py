"""A face in a frame: where it is, also as plain data for a journal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Point = tuple[float, float]
LANDMARKS = ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")


@dataclass(frozen=True)
class Face:
    """A face's box: its left and top edge, width and height in pixels of the upright frame. (0, 0) is the corner of the
    first pixel, whose middle is (0.5, 0.5).

    ``landmarks`` are five points (x, y) in the same pixels, in the order of LANDMARKS: eyes, tip of the nose, corners
    of the mouth, "left" as one sees it in the picture. ``score`` is a detector's, 0 to 1.
    """

    x: float
    y: float
    w: float
    h: float
    landmarks: tuple[Point, ...] | None = None
    score: float | None = None

    @property
    def box(self) -> tuple[float, float, float, float]:
        """The box as (x, y, w, h)."""
        return self.x, self.y, self.w, self.h

    def __str__(self) -> str:
        return f"({', '.join(f'{side:g}' for side in self.box)})"


def fault_of(face: Face, size: tuple[int, ...] | None = None) -> str | None:
    """Return what is wrong with a face, for a sentence that begins with it; None for a good one.

    ``size`` is the frame's (height, width) in pixels, where it is known.
    """
    numbers = (*face.box, *(number for point in face.landmarks or () for number in point))
    if not all(isinstance(number, float | int) and math.isfinite(number) for number in numbers):
        return "has a number that is not finite"
    if face.w <= 0 or face.h <= 0:
        return "has no area"
    if face.landmarks is not None and len(face.landmarks) != len(LANDMARKS):
        return f"has {len(face.landmarks)} landmarks instead of {len(LANDMARKS)}"
    if face.landmarks is not None and len(set(face.landmarks)) < 2:
        return "has all landmarks in one point"
    if size and not (face.x < size[1] and face.y < size[0] and face.x + face.w > 0 and face.y + face.h > 0):
        return f"lies outside the frame's {size[1]}x{size[0]} pixels"
    return None


def to_plain(faces: Sequence[Face]) -> list[Any]:
    """Return faces as lists of numbers, which JSON gives back as they were."""
    return [[*face.box, face.score, face.landmarks] for face in faces]


def from_plain(rows: Sequence[Any]) -> tuple[Face, ...] | None:
    """Return the faces that ``to_plain`` made lists of; None for anything else."""
    try:
        faces = [
            Face(x, y, w, h, None if marks is None else tuple((float(x), float(y)) for x, y in marks), score)
            for x, y, w, h, score, marks in rows
        ]
        return None if any(fault_of(face) for face in faces) else tuple(faces)
    except (TypeError, ValueError):
        return None
