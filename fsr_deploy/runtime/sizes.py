"""From a frame of any size to an LR face of the engine's size, and what to tell about it."""

from __future__ import annotations

from collections import Counter
from enum import Enum

import cv2
import numpy as np
from numpy.typing import NDArray

DETAIL_LOST = 1.5
STRETCHED = 1.1


class Fit(Enum):
    """What was done to a frame to make it an LR face."""

    AS_IS = "of the engine's size"
    ENLARGED = "enlarged"
    REDUCED = "reduced"


def fit(frame: NDArray[np.uint8], lr_shape: tuple[int, int]) -> tuple[NDArray[np.uint8], Fit]:
    """Resize an (H, W, 3) frame to (h, w, 3): a side that is too long by area, one that is too short by bicubic."""
    height, width = frame.shape[:2]
    smaller = min(height, lr_shape[0]), min(width, lr_shape[1])
    done = Fit.AS_IS
    if smaller != lr_shape:
        done = Fit.ENLARGED
    if smaller != (height, width):
        done = Fit.REDUCED
        frame = _resize(frame, smaller, cv2.INTER_AREA)
    if smaller != lr_shape:
        frame = _resize(frame, lr_shape, cv2.INTER_CUBIC)
    return frame, done


def _resize(frame: NDArray[np.uint8], shape: tuple[int, int], method: int) -> NDArray[np.uint8]:
    return np.asarray(cv2.resize(frame, shape[::-1], interpolation=method), np.uint8)


class SizeCount:
    """Counts what ``fit`` did over a run; a few integers, however many frames."""

    def __init__(self, lr_shape: tuple[int, int]) -> None:
        self.lr_shape = lr_shape
        self.fits: Counter[Fit] = Counter()
        self.detail_lost = 0
        self.stretched = 0
        self.largest = 0

    def add(self, shape: tuple[int, int], done: Fit) -> None:
        """Count a frame that was (height, width) pixels before it was fitted."""
        scales = [side / lr_side for side, lr_side in zip(shape, self.lr_shape, strict=True)]
        self.fits[done] += 1
        self.stretched += max(scales) > STRETCHED * min(scales)
        if max(scales) > DETAIL_LOST:
            self.detail_lost += 1
            self.largest = max(self.largest, *shape)

    def lines(self) -> list[str]:
        """Return what a user should know: one summary, none where every frame had the engine's size."""
        resized = self.fits[Fit.REDUCED] + self.fits[Fit.ENLARGED]
        if not resized:
            return []
        height, width = self.lr_shape
        counts = ", ".join(f"{self.fits[kind]} {kind.value}" for kind in Fit if self.fits[kind])
        return [f"frames resized to the engine's {width}x{height}: {counts}"]

    def warnings(self) -> list[str]:
        """Return what went against the quality of the result."""
        found = []
        height, width = self.lr_shape
        if self.detail_lost:
            found.append(
                f"detail was thrown away in {self.detail_lost} of the frames, larger than {DETAIL_LOST} times"
                f" {width}x{height}; an engine exported with --lr-size {self.largest} would keep it"
            )
        if self.stretched:
            found.append(
                f"{self.stretched} of the frames were stretched, because their proportions are not the engine's;"
                " crop the faces first"
            )
        return found
