"""From a region of a frame to an LR face."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fsr_deploy.faces.geometry import Matrix, Region, Shape
from fsr_deploy.images.opencv import cv2
from fsr_deploy.images.resize import Face as Picture
from fsr_deploy.images.resize import resize

Frame = NDArray[Any]  # (h, w, 3) RGB, uint8 or uint16


def cut(frame: Frame, region: Region, shape: Shape) -> Picture:
    """Return the region of an (h, w, 3) uint8 or uint16 RGB frame as an LR face of ``shape``, (h, w), uint8 RGB.

    A region that is not turned is made an LR face as every other picture is (``resize``). A turned one is first drawn
    upright, with at least as many pixels as it has in the frame, so that the same filter then reduces it. Beyond the
    frame's edges, their pixels are repeated.
    """
    if region.whole:
        return resize(to_8_bits(_window(frame, region.bounds())), shape)
    height, width = shape
    times = max(1, math.ceil(round(max(region.width / width, region.height / height), 6)))
    return resize(_upright(frame, region, (height * times, width * times)), shape)


def to_8_bits(frame: Frame) -> Picture:
    """Return a frame with its samples rounded to 8 bits."""
    return frame if frame.dtype == np.uint8 else cv2.convertScaleAbs(frame, alpha=1 / 257).astype(np.uint8, copy=False)


def sampling(to_picture: Matrix, shape: Shape) -> Matrix:
    """Return OpenCV's matrix from the pixels of a picture of ``shape`` to those of another, given that from (u, v).

    OpenCV counts from the middle of the first pixel, we count from its corner.
    """
    height, width = shape
    turn = to_picture[:, :2] / (width, height)
    return np.column_stack([turn, to_picture[:, 2] + turn @ (0.5, 0.5) - 0.5])


def _window(frame: Frame, bounds: tuple[int, int, int, int]) -> Frame:
    """Return the part of a frame within (left, top, right, bottom); beyond its edges, their pixels are repeated."""
    left, top, right, bottom = bounds
    height, width = frame.shape[:2]
    rows = np.clip(np.arange(top, bottom), 0, height - 1)
    columns = np.clip(np.arange(left, right), 0, width - 1)
    inside = frame[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    if (len(rows), len(columns)) == inside.shape[:2]:
        return np.ascontiguousarray(inside)
    return inside[rows - rows[0]][:, columns - columns[0]]


def _upright(frame: Frame, region: Region, shape: Shape) -> Picture:
    """Return a turned region as an upright picture of ``shape``."""
    left, top, right, bottom = region.bounds()
    height, width = frame.shape[:2]
    # Some pixels more, which the filter reaches. Nothing but the frame's own edges may be repeated.
    left, top = max(0, min(left - 5, width - 1)), max(0, min(top - 5, height - 1))
    right, bottom = min(width, max(right + 5, left + 1)), min(height, max(bottom + 5, top + 1))
    to_part = region.to_frame() - ((0, 0, left), (0, 0, top))
    turned = cv2.warpAffine(
        frame[top:bottom, left:right].astype(np.float32),
        sampling(to_part, shape),
        shape[::-1],
        flags=cv2.INTER_LANCZOS4 | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    levels = turned if frame.dtype == np.uint8 else turned / np.float32(257)
    return np.clip(np.rint(levels), 0, 255).astype(np.uint8)
