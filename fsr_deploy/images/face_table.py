"""parity.png: the input, the results of eager and of the engine, and their difference."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from fsr_deploy.images.codec import RGB

MAX_ROWS = 4
MIN_CELL = 224
MARGIN, GAP, HEADER = 20, 10, 44
GAIN = 20
PAPER, INK, FAINT = (255, 255, 255), (24, 28, 36), (120, 126, 138)

Faces = NDArray[np.uint8]


def parity_picture(lr: Faces | None, bicubic: Faces, eager: Faces, engine: Faces, footer: str) -> RGB:
    """Draw up to four faces as rows of LR | bicubic | eager | engine | difference x 20; returns (H, W, 3) uint8 RGB.

    ``lr`` is (N, h, w, 3), None where the LR faces are not known, the others are (N, H, W, 3) uint8 RGB; the difference
    is per channel, black where equal. ``footer`` is the line under the picture, for a reader who sees nothing else.
    """
    columns = {} if lr is None else {f"LR {lr.shape[2]}x{lr.shape[1]}": lr}
    columns |= {
        "bicubic": bicubic,
        "eager FP32": eager,
        "engine": engine,
        f"difference x {GAIN}": amplified_difference(engine, eager),
    }
    return face_table({title: faces[:MAX_ROWS] for title, faces in columns.items()}, footer)


def face_table(columns: Mapping[str, Faces], footer: str) -> RGB:
    """Draw a table of faces, one titled column each and one face per row, with a footer; returns (H, W, 3) uint8 RGB.

    Each column is (N, h, w, 3) uint8 RGB of the same N; smaller faces are enlarged by repeating pixels, so that every
    pixel is visible.
    """
    rows = min(len(faces) for faces in columns.values())
    sides = [max(faces.shape[axis] for faces in columns.values()) for axis in (1, 2)]
    high, wide = (side * -(-MIN_CELL // sides[1]) for side in sides)
    width = 2 * MARGIN + len(columns) * wide + (len(columns) - 1) * GAP
    height = HEADER + rows * high + (rows - 1) * GAP + HEADER
    canvas = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(canvas)
    for column, (title, faces) in enumerate(columns.items()):
        left = MARGIN + column * (wide + GAP)
        draw.text((left, HEADER / 2), title, INK, ImageFont.load_default(20), anchor="lm")
        for row in range(rows):
            face = Image.fromarray(faces[row]).resize((wide, high), Image.Resampling.NEAREST)
            canvas.paste(face, (left, HEADER + row * (high + GAP)))
    draw.text((MARGIN, height - HEADER / 2), footer, FAINT, ImageFont.load_default(16), anchor="lm")
    return np.asarray(canvas)


def amplified_difference(engine: Faces, eager: Faces) -> Faces:
    """Return the absolute difference of two batches of faces times 20, clipped."""
    difference = np.abs(engine.astype(np.int16) - eager) * GAIN
    return np.minimum(difference, 255).astype(np.uint8)
