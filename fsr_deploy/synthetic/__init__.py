"""Faces drawn by a program: data where no data set is at hand.

A seed gives one portrait: skin, hair, eyes, brows, nose, mouth, pose, light and background vary. Fine structure
(lids, irises, strands, lips) is drawn antialiased, so that it is there to be lost at 16x16 and learnt back at 128x128.
The same seed gives the same face as long as NumPy and OpenCV stay the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from fsr_deploy._util.sizes import Size, as_shape
from fsr_deploy.images.codec import write_frame
from fsr_deploy.images.opencv import cv2
from fsr_deploy.images.resize import crop, lr_face
from fsr_deploy.synthetic.canvas import Canvas, Face
from fsr_deploy.synthetic.features import draw_brow, draw_eye, draw_glasses, draw_head, draw_mouth, draw_nose
from fsr_deploy.synthetic.hair import draw_beard, draw_hair_behind, draw_hair_in_front
from fsr_deploy.synthetic.look import Look
from fsr_deploy.synthetic.scene import draw_background, draw_body, draw_light


def draw_face(seed: int | Sequence[int], size: Size = 128) -> Face:
    """Return the portrait that belongs to a seed, (size, size, 3) uint8 RGB, drawn at least twice that large.

    Of (height, width) that differ, it is the middle of a square portrait.
    """
    shape = as_shape(size)
    longest = max(shape)
    rng = np.random.default_rng(seed)
    look = Look.draw(rng)
    canvas = Canvas(max(256, 2 * longest))
    draw_background(canvas, rng)
    draw_hair_behind(canvas, look, rng)
    draw_body(canvas, look, rng)
    draw_head(canvas, look)
    draw_nose(canvas, look)
    draw_mouth(canvas, look)
    draw_beard(canvas, look, rng)
    for side in (-1, 1):
        draw_eye(canvas, look, side, rng)
        draw_brow(canvas, look, side, rng)
    draw_light(canvas, look)
    draw_glasses(canvas, look)
    draw_hair_in_front(canvas, look, rng)
    face: Face = cv2.resize(canvas.pixels, (longest, longest), interpolation=cv2.INTER_AREA).astype(np.uint8)
    return np.ascontiguousarray(crop(face, shape))


def faces(count: int, seed: int = 0, size: Size = 128) -> Iterator[Face]:
    """Yield ``count`` portraits, each as ``draw_face`` gives it; two different seeds share no face."""
    for index in range(count):
        yield draw_face((seed, index), size)


def write_faces(folder: Path, count: int, lr_size: Size | None = None, seed: int = 0) -> list[Path]:
    """Write ``face_00000.png`` and so on, 128x128 or, with ``lr_size``, that small; returns their paths.

    Raises InputError if a file cannot be written.
    """
    paths = []
    for index, face in enumerate(faces(count, seed)):
        if lr_size is not None:
            face = lr_face(face, as_shape(lr_size))
        path = folder / f"face_{index:05d}.png"
        write_frame(path, face)
        paths.append(path)
    return paths
