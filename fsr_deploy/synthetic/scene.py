"""What is around a face: background, neck and clothes, and the light on the head."""

from __future__ import annotations

import numpy as np

from fsr_deploy.images.opencv import cv2
from fsr_deploy.synthetic.canvas import Canvas
from fsr_deploy.synthetic.look import CLOTHES, SHADOW, Look, pick


def draw_background(canvas: Canvas, rng: np.random.Generator) -> None:
    """Fill the picture with something out of focus, sometimes with one straight edge."""
    base = rng.uniform(40, 220, 3) * 0.3 + rng.uniform(40, 220) * 0.7
    cells = int(rng.integers(2, 6))
    blobs = base + rng.normal(0, 22, (cells, cells, 1)) + rng.normal(0, 9, (cells, cells, 3))
    smooth = cv2.resize(np.clip(blobs, 0, 255).astype(np.uint8), (canvas.side // 4,) * 2, interpolation=cv2.INTER_CUBIC)
    canvas.pixels[:] = cv2.resize(smooth, (canvas.side,) * 2)
    if rng.random() < 0.4:  # the edge of a wall, a window or a door
        x, lean, wide = rng.uniform(0, 1), rng.normal(0, 0.06), rng.uniform(0.1, 0.5)
        band = np.array(((x, 0), (x + wide, 0), (x + wide + lean, 1), (x + lean, 1)))
        canvas.fill(band, base + rng.normal(0, 40), 0.004, rng.uniform(0.4, 0.9))


def draw_body(canvas: Canvas, look: Look, rng: np.random.Generator) -> None:
    """Draw shoulders, collar and neck, with the shadow of the head."""
    (cx, cy), (rx, ry) = look.centre, look.radii
    cloth = pick(rng, CLOTHES, 16)
    slope, wide = rng.uniform(0.05, 0.12), rng.uniform(0.40, 0.5)
    top = cy + ry * 1.10
    t = np.linspace(-1, 1, 21)
    shoulders = np.stack((cx + wide * t, top + slope * t**2), -1)
    base = np.array(((cx + wide, 1.05), (cx - wide, 1.05)))
    neck = rx * rng.uniform(0.56, 0.72)
    pillar = np.array(
        ((cx - neck, cy), (cx + neck, cy), (cx + neck * 1.25, top + 0.12), (cx - neck * 1.25, top + 0.12))
    )
    canvas.fill(np.concatenate((shoulders, base)), cloth)
    canvas.fill(np.concatenate((shoulders + np.array((0.0, 0.1)), base)), cloth * 0.7, 0.05, 0.6)
    canvas.fill(pillar, look.skin * (0.86, 0.8, 0.78))
    opening = np.array(
        ((cx - neck * 1.3, top - 0.005), (cx + neck * 1.3, top - 0.005), (cx, top + rng.uniform(0.03, 0.14)))
    )
    canvas.fill(opening, look.skin * (0.86, 0.8, 0.78))
    canvas.stroke(opening[[0, 2, 1]], cloth * 0.6, 0.01)
    shadow = look.outline(0.8) + np.array((-0.02 * look.light[0], 0.12))
    canvas.fill(shadow, look.skin * SHADOW * 0.8, 0.025, 0.6)


def draw_light(canvas: Canvas, look: Look) -> None:
    """Multiply the head by the light that falls on an ellipsoid, warm where lit and reddish where not."""
    small = 48
    grid = (np.mgrid[0:small, 0:small].transpose(1, 2, 0)[..., ::-1] + 0.5) / small
    x, y = np.moveaxis((grid - look.centre) / (look.radii * 1.06), -1, 0)
    z = np.sqrt(np.clip(1 - x**2 - 0.7 * y**2, 0.02, None))
    facing = (x * look.light[0] + y * look.light[1] * 0.7 + z * look.light[2]) / np.sqrt(x**2 + 0.7 * y**2 + z**2)
    lit = look.ambient + (1 - look.ambient) * np.clip(facing * 1.15 + 0.1, 0, 1.1)
    gain = (SHADOW ** (1 - lit[..., None])) ** 1.5 * (1 + 0.12 * np.clip(facing - 0.75, 0, 1)[..., None])
    window, cover = canvas.mask(look.outline(1.02), 0.006)
    gains = cv2.resize(gain.astype(np.float32), (canvas.side,) * 2)[window]
    shaded = cv2.multiply(np.ascontiguousarray(canvas.pixels[window]), gains, dtype=cv2.CV_8U)
    canvas.paste(window, cover, shaded.astype(np.uint8))
