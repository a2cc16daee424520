"""A picture to draw on, antialiased, in fractions of its side."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fsr_deploy.images.opencv import cv2

Face = NDArray[np.uint8]
Points = NDArray[np.float64]
Colour = NDArray[np.float64]
Window = tuple[slice, slice]


class Canvas:
    """A square RGB picture; coordinates and widths are fractions of its side."""

    def __init__(self, side: int) -> None:
        self.side = side
        self.pixels = np.zeros((side, side, 3), np.uint8)

    def mask(self, points: Points, soft: float = 0.0) -> tuple[tuple[slice, slice], NDArray[np.float32]]:
        """Return the window that a polygon touches and its coverage there, 0..1, blurred by ``soft``."""
        blur = int(soft * self.side) | 1
        low = np.clip(np.floor(points.min(0) * self.side).astype(int) - 2 * blur, 0, self.side - 1)
        high = np.clip(np.ceil(points.max(0) * self.side).astype(int) + 2 * blur + 1, low + 1, self.side)
        cover = np.zeros((high[1] - low[1], high[0] - low[0]), np.uint8)
        cv2.fillPoly(cover, [fixed_point(points * self.side - low)], (255,), cv2.LINE_AA, 4)
        if soft:
            cover = cv2.blur(cv2.blur(cover, (blur, blur)), (blur, blur))
        return (slice(low[1], high[1]), slice(low[0], high[0])), cover.astype(np.float32) / np.float32(255)

    def fill(self, points: Points, colour: Colour, soft: float = 0.0, alpha: float = 1.0) -> None:
        """Paint a polygon, (n, 2), with blurred edges and some transparency."""
        window, cover = self.mask(points, soft)
        paint = np.empty_like(self.pixels[window])
        paint[:] = np.clip(colour, 0, 255)
        self.paste(window, cover * alpha, paint)

    def paste(self, window: tuple[slice, slice], cover: NDArray[np.float32], paint: Face) -> None:
        """Lay ``paint`` over a window, weighted by ``cover``."""
        under = np.ascontiguousarray(self.pixels[window])
        self.pixels[window] = cv2.blendLinear(paint, under, cover, 1 - cover)

    def stroke(self, lines: Points, colour: Colour, width: float) -> None:
        """Draw polylines, (n, 2) or (lines, n, 2), antialiased."""
        fixed = list(fixed_point(lines.reshape(-1, *lines.shape[-2:]) * self.side))
        thick = max(1, round(width * self.side))
        cv2.polylines(self.pixels, fixed, False, np.clip(colour, 0, 255).tolist(), thick, cv2.LINE_AA, 4)


def fixed_point(points: Points) -> NDArray[np.int32]:
    """Return coordinates as OpenCV's integers with four fractional bits."""
    return np.round(points * 16).astype(np.int32)
