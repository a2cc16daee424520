"""Which part of a frame becomes a face's picture: a square around its box, or turned as its landmarks ask."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fsr_deploy.faces.face import Face, Point

Matrix = NDArray[np.float64]
Shape = tuple[int, int]

# From a detector's box, forehead to chin, to the picture of a face that networks are trained with, which holds the hair
# too: CelebA's middle 178x178, and our drawn faces, on which CenterFace's boxes were measured. The square is so many
# times as large as the box, and its middle lies above the box's by so much of its height.
ENLARGED = 1.6
RAISED = 0.09
# A turn that moves no corner by more pixels than this is none: a whole square is as good.
TURN_PIXELS = 0.5
# OpenCV turns nothing larger.
MAX_TURNED = 16384


@dataclass(frozen=True)
class Region:
    """A rectangle in a frame: its middle, width and height in pixels, turned by ``angle`` (radians, clockwise as seen).

    Its own coordinates (u, v) go from (0, 0), the corner at its top left, to (1, 1).
    """

    x: float
    y: float
    width: float
    height: float
    angle: float = 0.0

    def to_frame(self, scale: float = 1.0) -> Matrix:
        """Return the 2x3 matrix from (u, v) to (x, y) in the frame, enlarged by ``scale``."""
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        turn = np.array([[cos, -sin], [sin, cos]]) * (self.width, self.height)
        corner = np.array([self.x, self.y]) - turn @ (0.5, 0.5)
        return scale * np.column_stack([turn, corner])

    def bounds(self, scale: float = 1.0) -> tuple[int, int, int, int]:
        """Return (left, top, right, bottom) of the whole pixels that it touches in the enlarged frame."""
        turn, corner = np.split(self.to_frame(scale), [2], axis=1)
        corners = (turn @ np.array([[0, 1, 0, 1], [0, 0, 1, 1]]) + corner).round(6)
        (left, top), (right, bottom) = np.floor(corners.min(1)), np.ceil(corners.max(1))
        return int(left), int(top), int(right), int(bottom)

    @property
    def whole(self) -> bool:
        """Whether it is not turned and begins and ends between pixels, so that the LR recipe can be applied to it."""
        edges = (self.x - self.width / 2, self.y - self.height / 2, self.width, self.height)
        return self.angle == 0 and all(edge == round(edge) for edge in edges)


def region_of(face: Face, lr_shape: Shape, template: Sequence[Point] | None = None) -> Region:
    """Return the region of a frame that becomes a face's LR face of ``lr_shape``, (h, w).

    ``template`` says where the five landmarks lie in that face, as fractions of its width and height. Without it, or
    without landmarks, it is the square around the box, ENLARGED and RAISED.
    """
    if face.landmarks is None or not template:
        return _around(face, lr_shape)
    size = np.array(lr_shape[::-1], float)
    scale, angle, shift = similarity(np.asarray(template) * size, np.asarray(face.landmarks))
    cos, sin = math.cos(angle), math.sin(angle)
    x, y = scale * np.array([[cos, -sin], [sin, cos]]) @ (size / 2) + shift
    width, height = scale * size
    reach = math.hypot(width, height) / 2
    if 2 * math.sin(abs(angle) / 2) * reach <= TURN_PIXELS or max(width, height) > MAX_TURNED:
        return _whole(x, y, width, height)
    return Region(float(x), float(y), float(width), float(height), angle)


def similarity(source: Matrix, target: Matrix) -> tuple[float, float, Matrix]:
    """Return (scale, angle, shift) that bring points (N, 2) nearest to others: scale * turn(angle) @ p + shift.

    In the sense of least squares (Umeyama, IEEE TPAMI 13(4), 1991, eq. 40-43, in the plane and without mirroring).
    """
    source_mean, target_mean = source.mean(0), target.mean(0)
    a, b = source - source_mean, target - target_mean
    along, across = float((a * b).sum()), float((a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum())
    angle = math.atan2(across, along)
    scale = math.hypot(along, across) / float((a * a).sum())
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    return scale, angle, target_mean - scale * turn @ source_mean


def _around(face: Face, lr_shape: Shape) -> Region:
    """Return the smallest rectangle of the LR face's proportions around the box, enlarged and raised."""
    height, width = lr_shape
    side = ENLARGED * max(face.w / width, face.h / height)
    middle = face.y + face.h / 2 - RAISED * side * height
    return _whole(face.x + face.w / 2, middle, side * width, side * height)


def _whole(x: float, y: float, width: float, height: float) -> Region:
    """Return a region that begins and ends between pixels."""
    wide, high = max(1, round(float(width))), max(1, round(float(height)))
    left, top = round(float(x) - wide / 2), round(float(y) - high / 2)
    return Region(left + wide / 2, top + high / 2, wide, high)
