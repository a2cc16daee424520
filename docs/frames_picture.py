"""Draw docs/frames.jpg: drawn faces in one picture, and scikit-image's astronaut, enlarged by Lanczos and by fsr-run.

python -m docs.frames_picture BUNDLE CENTERFACE
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import fsr_deploy as fsr
from fsr_deploy.faces.geometry import ENLARGED, RAISED
from fsr_deploy.faces.pasting import enlarge
from fsr_deploy.images.opencv import cv2
from fsr_deploy.synthetic import draw_face

Picture = NDArray[np.uint8]
TIMES, SIDE = 8, 51
# Middle, size and seed of each drawn face, in a picture TIMES as large as what is shown to the engine.
DRAWN = ((105, 120, 150, 3), (300, 130, 130, 8), (120, 310, 120, 11), (300, 305, 160, 21))


def crowd() -> tuple[Picture, list[fsr.Face]]:
    """Return a small picture with drawn faces, and where they are."""
    y, x = np.mgrid[0 : TIMES * SIDE, 0 : TIMES * SIDE]
    scene = np.stack([150 + 30 * np.sin(x / 90 + c) + 20 * np.cos(y / 70 - c) for c in (0, 0.4, 0.9)], -1)
    found = []
    for middle_x, middle_y, side, seed in DRAWN:
        portrait = small(draw_face((7, seed), 256), side).astype(float)
        place = np.linspace(-1, 1, side)
        cover = np.clip((1 - np.hypot(place[None], place[:, None])) / 0.12, 0, 1)[..., None]
        part = scene[middle_y - side // 2 :, middle_x - side // 2 :][:side, :side]
        part += cover * (portrait - part)
        box = side / ENLARGED
        corner = middle_x - box / 2, middle_y + RAISED * side - box / 2
        found.append(fsr.Face(*(number / TIMES for number in (*corner, box, box))))
    return small(scene.astype(np.uint8), SIDE), found


def small(picture: Picture, side: int) -> Picture:
    """Return a picture reduced to a square."""
    return cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA).astype(np.uint8)


def main(bundle: str, centerface: str) -> None:
    """Write the picture."""
    from skimage import data

    drawn, faces = crowd()
    astronaut = small(data.astronaut()[:357, 60:417], SIDE)
    gap = np.full((TIMES * SIDE, 6, 3), 255, np.uint8)
    with fsr.load(bundle, device="cpu", find_faces=centerface) as upscaler:
        rows = [
            np.hstack([enlarge(picture, TIMES), gap, upscaler.restore(picture, known, upscale=TIMES).frame])
            for picture, known in ((drawn, faces), (astronaut, None))
        ]
    between = np.full((6, rows[0].shape[1], 3), 255, np.uint8)
    path = Path(__file__).with_name("frames.jpg")
    cv2.imwrite(str(path), np.vstack([rows[0], between, rows[1]])[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])


if __name__ == "__main__":
    main(*sys.argv[1:])
