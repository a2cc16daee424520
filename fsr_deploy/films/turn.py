"""Frames as they are to be seen: what a film's display matrix asks players to do, done to the pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fsr_deploy.films.colour import Pixels

if TYPE_CHECKING:
    from av import VideoFrame


@dataclass(frozen=True)
class Turn:
    """One of the eight ways to lay a frame: rows and columns exchanged first, then mirrored. ``odd`` tells that the
    film asks for something else, which is not done.
    """

    exchanged: bool = False
    mirrored: bool = False
    upside_down: bool = False
    odd: bool = False

    def __call__(self, pixels: Pixels) -> Pixels:
        """Return (h, w, 3) pixels upright, in memory of their own where anything changes."""
        turned = pixels.transpose(1, 0, 2) if self.exchanged else pixels
        turned = turned[:: -1 if self.upside_down else 1, :: -1 if self.mirrored else 1]
        return np.ascontiguousarray(turned)

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Return the size of a frame when it is upright."""
        return (height, width) if self.exchanged else (width, height)


def turn_of(frame: VideoFrame) -> Turn:
    """Return what the display matrix of a decoded frame asks for: x' = a x + c y, y' = b x + d y."""
    kept: Any = frame.side_data  # a sequence; PyAV's annotation says a mapping
    found = next((bytes(data) for data in kept if data.type.name == "DISPLAYMATRIX"), b"")
    values = np.frombuffer(found, np.int32)
    if len(values) < 5:
        return Turn()
    a, b, c, d = (float(values[at]) for at in (0, 1, 3, 4))
    small = 0.01 * max(abs(a), abs(b), abs(c), abs(d))
    if abs(b) > abs(a):
        return Turn(True, c < 0, b < 0, max(abs(a), abs(d)) > small)
    return Turn(False, a < 0, d < 0, max(abs(b), abs(c)) > small)
