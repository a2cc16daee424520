"""The one way to a face of a given size, in training, proof, calibration, measurement and fsr-run alike.

A picture is cut to its middle part of the face's proportions and resized by Pillow's bicubic, as in both papers: a =
-0.5, a kernel that widens as it shrinks, renormalised at the edges, rounded to 8 bits after each of its two passes.
Bundles call this bundle.LR_RECIPE; another way of making LR faces needs another name there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fsr_deploy._util.sizes import Shape, Size, as_shape

Face = NDArray[np.uint8]
Fit = Literal["crop", "stretch"]
FITS = ("crop", "stretch")


def lr_face(frame: Face, shape: Shape, fit: Fit = "crop") -> Face:
    """Return an (H, W, 3) uint8 RGB frame as an LR face (h, w, 3); ``shape`` is its (h, w) in pixels.

    "crop" takes the middle part of the face's proportions, "stretch" all of the frame.
    """
    return resize(crop(frame, shape) if fit == "crop" else frame, shape)


def resize(face: Face, shape: Shape) -> Face:
    """Resize an (H, W, 3) uint8 RGB face to (h, w, 3) by Pillow's bicubic, up or down."""
    if face.shape[:2] == shape:
        return face
    from fsr_deploy.images.pillow import Image

    return np.asarray(Image.fromarray(face).resize(shape[::-1], Image.Resampling.BICUBIC))


def crop(frame: Face, shape: Shape) -> Face:
    """Return the largest middle part of a frame that has the proportions of ``shape``; a view, not a copy."""
    height, width = cropped_shape(frame.shape[:2], shape)
    top, left = (frame.shape[0] - height) // 2, (frame.shape[1] - width) // 2
    return frame[top : top + height, left : left + width]


def cropped_shape(frame: tuple[int, ...], shape: Shape) -> Shape:
    """Return the (height, width) of that part of a frame of (height, width) pixels."""
    height, width = frame
    if width * shape[0] > height * shape[1]:
        return height, max(1, round(height * shape[1] / shape[0]))
    return max(1, round(width * shape[0] / shape[1])), width


def shrink(faces: Sequence[Face], lr_size: Size) -> list[Face]:
    """Return the LR faces of HR faces."""
    return [lr_face(face, as_shape(lr_size)) for face in faces]


def bicubic(lr: Sequence[Face], size: Size) -> list[Face]:
    """Bring LR faces to ``size`` by bicubic: what every network is measured against."""
    return [resize(face, as_shape(size)) for face in lr]
