"""SR faces back into the enlarged frame, under a mask that leaves no seam."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from fsr_deploy.faces.cutting import Frame, sampling
from fsr_deploy.faces.geometry import Matrix, Region
from fsr_deploy.images.opencv import cv2
from fsr_deploy.images.resize import Face as Picture
from fsr_deploy.images.resize import resize

FILTERS = {"lanczos": cv2.INTER_LANCZOS4, "bicubic": cv2.INTER_CUBIC}
# The part of a face's width and height, at each side, over which it fades into the frame.
FADE = 0.15

Weights = NDArray[np.float32]


def enlarge(frame: Frame, scale: int, kernel: str = "lanczos") -> Frame:
    """Return an (h, w, 3) RGB frame ``scale`` times as wide and high, of the same type; always a copy."""
    if scale == 1:
        return frame.copy()
    height, width = frame.shape[:2]
    return cv2.resize(frame, (width * scale, height * scale), interpolation=FILTERS[kernel])


def paste(canvas: Frame, face: Picture, region: Region, scale: int) -> None:
    """Lay an SR face (H, W, 3) uint8 RGB over its region of a frame that was enlarged by ``scale``, in place.

    Its inner part replaces the frame, towards the region's edges it fades. In a frame of 16 bits its levels are spread
    over their range.
    """
    left, top, right, bottom = region.bounds(scale)
    first_row, first_column = max(0, top), max(0, left)
    last_row, last_column = min(canvas.shape[0], bottom), min(canvas.shape[1], right)
    if first_row >= last_row or first_column >= last_column:
        return
    part = canvas[first_row:last_row, first_column:last_column]
    shown = (slice(first_row - top, last_row - top), slice(first_column - left, last_column - left))
    if region.whole:
        height, width = bottom - top, right - left
        pixels = resize(face, (height, width))[shown].astype(np.float32)
        weights = (_fade(height)[:, None] * _fade(width))[shown]
    else:
        corner = ((0, 0, first_column), (0, 0, first_row))
        pixels, weights = _turned(face, region.to_frame(scale) - corner, part.shape[:2])
    if canvas.dtype == np.uint16:
        pixels *= np.float32(257)
    mixed = part + weights[..., None] * (pixels - part)
    part[:] = np.clip(np.rint(mixed), 0, np.iinfo(canvas.dtype).max).astype(canvas.dtype)


def _turned(face: Picture, to_part: Matrix, shape: tuple[int, ...]) -> tuple[NDArray[np.float32], Weights]:
    """Return what a part of the enlarged frame shows of a turned face, and with which weights."""
    height, width = shape
    sides = np.hypot(*to_part[:, :2])
    # Reduced before it is turned, where it has more pixels than its region, so that nothing flickers.
    fitting = [min(old, math.ceil(new)) for old, new in zip(face.shape[:2], sides[::-1], strict=True)]
    reduced = resize(face, (fitting[0], fitting[1]))
    pixels = cv2.warpAffine(
        reduced.astype(np.float32),
        sampling(to_part, reduced.shape[:2]),
        (width, height),
        flags=cv2.INTER_LANCZOS4,
        borderMode=cv2.BORDER_REPLICATE,
    )
    back = np.linalg.inv(to_part[:, :2])
    x = (np.arange(width) + 0.5 - to_part[0, 2])[None, :]
    y = (np.arange(height) + 0.5 - to_part[1, 2])[:, None]
    u, v = (_step(row[0] * x + row[1] * y) for row in back)
    return np.asarray(pixels, np.float32), u * v


def _fade(count: int) -> Weights:
    """Return the weights of the pixels along one side."""
    return _step((np.arange(count) + 0.5) / count)


def _step(place: NDArray[np.float64]) -> Weights:
    """Return weights for places from 0, one edge, to 1, the other: 0 at and beyond both, smooth to the second
    derivative, 1 from FADE inwards.
    """
    t = np.clip(np.minimum(place, 1 - place) / FADE, 0, 1).astype(np.float32)
    return t**3 * (10 + t * (6 * t - 15))
