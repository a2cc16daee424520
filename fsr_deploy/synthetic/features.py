"""The face itself: head, nose, mouth, eyes, brows, glasses."""

from __future__ import annotations

import numpy as np

from fsr_deploy.synthetic.canvas import Canvas, Points
from fsr_deploy.synthetic.look import SHADOW, Look


def draw_head(canvas: Canvas, look: Look) -> None:
    """Draw ears and skull with the soft colours of cheeks, eye sockets, forehead and chin."""
    t = np.linspace(0, 2 * np.pi, 24)
    for side in (-1, 1):
        if side * look.yaw < 0.22:  # the far ear is hidden
            u = side * (0.98 + 0.10 * np.cos(t)) - 0.25 * np.sin(look.yaw)
            ear = look.place(u, 0.08 + 0.17 * np.sin(t) - 0.03 * np.cos(t), depth=0)
            canvas.fill(ear, look.skin * (0.92, 0.8, 0.78))
            middle = ear.mean(0)
            canvas.fill(middle + (ear - middle) * 0.5, look.skin * SHADOW, 0.008, 0.6)
    canvas.fill(look.outline(), look.skin)
    for side in (-1, 1):
        cheek = look.place(side * 0.52 + 0.22 * np.cos(t), 0.30 + 0.13 * np.sin(t))
        canvas.fill(cheek, look.skin * (1.0, 0.72, 0.70), 0.06, 0.4 + 0.35 * look.makeup)
        socket = look.place(side * look.eye_gap + 0.27 * np.cos(t), -0.07 + 0.12 * np.sin(t))
        canvas.fill(socket, look.skin * SHADOW, 0.035, 0.32)
        fold = look.place(side * np.array((0.21, 0.30, 0.37)), np.array((0.33, 0.43, 0.54)))
        canvas.fill(
            np.concatenate((fold, fold[::-1] + np.array((0, 0.012)))),
            look.skin * SHADOW,
            0.012,
            0.15 + 0.5 * max(look.smile, 0),
        )
    forehead = look.place(0.5 * np.cos(t) + 0.2 * look.light[0], -0.42 + 0.14 * np.sin(t))
    canvas.fill(forehead, look.skin * 1.1 + 14, 0.07, 0.45)
    chin = look.place(0.17 * np.cos(t), 0.84 + 0.07 * np.sin(t))
    canvas.fill(chin, look.skin * 1.08 + 8, 0.03, 0.4)


def draw_nose(canvas: Canvas, look: Look) -> None:
    """Draw bridge, shaded flank, tip, wings and nostrils."""
    tip, w = 0.02 + look.nose_length, look.nose_width
    t = np.linspace(0, 2 * np.pi, 20)
    dark = look.skin * SHADOW
    away = -np.sign(look.light[0])
    ridge = np.array((0.055, 0.05, 0.07, 0.10))
    v = np.array((-0.12, 0.05, 0.2, tip))
    shade = np.concatenate(
        (look.place(away * ridge, v, 0.95), look.place(away * (ridge + np.array((0.06, 0.07, 0.09, 0.13))), v)[::-1])
    )
    canvas.fill(shade, dark, 0.012, 0.5)
    bridge = np.concatenate((look.place(-0.03, v, 0.98), look.place(0.03, v, 0.98)[::-1]))
    canvas.fill(bridge, look.skin * 1.12 + 16, 0.012, 0.55)
    canvas.fill(look.place(0.15 * np.cos(t), tip + 0.075 + 0.035 * np.sin(t), 0.9), dark, 0.014, 0.6)
    canvas.fill(look.place(0.07 * np.cos(t), tip - 0.02 + 0.05 * np.sin(t), 1.05), look.skin * 1.14 + 22, 0.012, 0.6)
    for side in (-1, 1):
        wing = np.linspace(-0.4, 0.5, 8) * np.pi
        canvas.stroke(
            look.place(side * (w - 0.06 + 0.07 * np.cos(wing)), tip + 0.005 + 0.055 * np.sin(wing), 0.85),
            dark * 0.92,
            0.006,
        )
        nostril = look.place(
            side * (0.09 + 0.045 * np.cos(t)), tip + 0.048 + 0.018 * np.sin(t) - 0.012 * np.cos(t), 0.95
        )
        canvas.fill(nostril, dark * 0.45, 0.003, 0.9)


def draw_mouth(canvas: Canvas, look: Look) -> None:
    """Draw lips, their seam and shine, and teeth in some smiles."""
    t = np.linspace(-1, 1, 25)
    w, full, level = look.mouth_width, look.mouth_full, 0.60
    bend = -0.07 * look.smile * t**2
    opening = 0.055 * look.teeth * (1 - t**2)
    cupid = full * (1 - np.abs(t) ** 1.6) * (1 - 0.22 * np.exp(-((t / 0.16) ** 2)))
    upper = look.place(w * t, level + bend - cupid - 0.3 * opening, 0.85)
    seam = look.place(w * t, level + bend + 0.006 * np.cos(3 * np.pi * t) - 0.2 * opening, 0.85)
    sill = look.place(w * t, level + bend + opening, 0.85)
    lower = look.place(w * t, level + bend + opening + 1.35 * full * (1 - t**2) ** 0.75, 0.85)
    canvas.fill(np.concatenate((lower, lower[::-1] + np.array((0, 0.018)))), look.skin * SHADOW, 0.014, 0.5)
    canvas.fill(np.concatenate((upper, lower[::-1])), look.lips, 0.003)
    canvas.fill(np.concatenate((upper, seam[::-1])), look.lips * 0.84, 0.003)
    shine = look.place(0.45 * w * t, level + opening + 0.75 * full + 0.25 * full * t**2, 0.88)
    canvas.fill(np.concatenate((shine, shine[::-1] + np.array((0, 0.007)))), look.lips * 1.1 + 45, 0.006, 0.6)
    if look.teeth:
        inside = np.concatenate((seam, sill[::-1]))
        canvas.fill(inside, np.array((64.0, 24, 26)))
        middle = inside.mean(0)
        canvas.fill(
            middle + (inside - middle) * (0.86, 0.8) - np.array((0, 0.003)),
            np.array((240.0, 234, 224)) * 0.94,
            0.004,
            0.95,
        )
    canvas.stroke(seam, look.lips * 0.42, 0.005)
    for side in (-1, 1):
        corner = look.place(side * w * np.array((0.96, 1.06)), level - 0.07 * look.smile * np.array((1.0, 1.15)), 0.85)
        canvas.stroke(corner, look.skin * SHADOW * 0.8, 0.006)


def draw_eye(canvas: Canvas, look: Look, side: int, rng: np.random.Generator) -> None:
    """Draw one eye (``side`` -1 is left in the picture): white, iris with spokes, pupil, glint, clipped by the lids."""
    t = np.linspace(-1, 1, 21)
    around = np.linspace(0, 2 * np.pi, 24)
    w, h = look.eye_size, look.eye_size * look.eye_open * look.radii[0] / look.radii[1]
    u = side * (look.eye_gap + w * t)  # t = -1 is the inner corner
    middle = -0.02 + look.eye_tilt * 0.5 * t * w / 0.2
    upper = look.place(u, middle - 1.15 * h * (1 - t**2) ** 0.7 * (1 - 0.12 * t))
    lower = look.place(u, middle + 0.75 * h * (1 - t**2) ** 0.85 * (1 + 0.18 * t))
    almond = np.concatenate((upper, lower[::-1]))
    under = canvas.pixels.copy()
    window, cover = canvas.mask(almond)
    canvas.fill(almond, np.array((232.0, 228, 224)), 0.01)
    centre = look.place(side * look.eye_gap + look.gaze[0] * w, -0.035 + look.gaze[1] * h)
    radius = 0.50 * w * look.radii[0]
    disc = np.stack((np.cos(around), np.sin(around)), -1) * radius
    canvas.fill(centre + disc, look.iris * 0.5)
    canvas.fill(centre + disc * 0.84, look.iris, 0.002)
    canvas.fill(centre + disc * 0.6 + np.array((0, 0.25 * radius)), look.iris * 1.45 + 18, 0.006, 0.8)
    rays = rng.uniform(0, 2 * np.pi, 9)
    spokes = np.stack((np.cos(rays), np.sin(rays)), -1)[:, None] * np.array((0.45, 0.85))[:, None] * radius
    canvas.stroke(centre + spokes, look.iris * 0.6, 0.003)
    canvas.fill(centre + disc * 0.42, np.array((12.0, 10, 12)))
    canvas.fill(
        np.concatenate((upper, upper[::-1] + np.array((0, 0.5 * h * look.radii[1])))), look.skin * 0.25, 0.012, 0.55
    )
    glint = centre + np.array((0.35 * np.sign(look.light[0]) * radius, -0.38 * radius))
    canvas.fill(glint + disc * 0.24, np.array((255.0, 255, 255)), 0.0, 0.95)
    inside = canvas.pixels[window].copy()
    canvas.pixels = under
    canvas.paste(window, cover, inside)
    _lids(canvas, look, side, upper, lower, rng)


def _lids(canvas: Canvas, look: Look, side: int, upper: Points, lower: Points, rng: np.random.Generator) -> None:
    lash = np.minimum(look.hair * 0.4, 46)
    height = np.array((0, look.eye_size * look.radii[0]))
    if look.makeup > 0.5:
        canvas.fill(np.concatenate((upper, upper[::-1] - 0.32 * height)), look.skin * (0.62, 0.48, 0.52), 0.01, 0.5)
    canvas.stroke(upper[1:-2] - 0.26 * height, look.skin * SHADOW * 0.85, 0.005)
    canvas.stroke(lower[2:-1] + 0.03 * height, look.skin * SHADOW * 0.9, 0.004)
    canvas.stroke(lower[5:-3] + 0.28 * height, look.skin * SHADOW, 0.003)
    canvas.stroke(upper, lash, 0.009 + 0.006 * look.makeup)
    roots = upper[9:]
    reach = np.linspace(0.1, 0.42, len(roots))[:, None] * (0.5 + 0.7 * look.makeup)
    sweep = np.array((side * 0.75, -0.65)) * height[1] * reach + rng.normal(0, 0.001, roots.shape)
    canvas.stroke(np.stack((roots, roots + sweep), 1), lash, 0.003)


def draw_brow(canvas: Canvas, look: Look, side: int, rng: np.random.Generator) -> None:
    """Draw one eyebrow: a soft shape under single hairs."""
    t = np.linspace(0, 1, 12)
    u = side * (look.eye_gap - 0.24 + 0.50 * t)
    v = -0.02 - look.brow_lift - look.brow_arch * np.sin(np.pi * (0.1 + 0.75 * t)) + 0.01 * t
    thick = look.brow_width * np.sin(np.pi * (0.22 + 0.74 * t)) ** 0.8
    colour = look.hair * 0.55 + look.skin * 0.12
    canvas.fill(np.concatenate((look.place(u, v - thick / 2), look.place(u, v + thick / 2)[::-1])), colour, 0.006, 0.75)
    s = rng.uniform(0, 1, 26)
    low = np.interp(s, t, v) + np.interp(s, t, thick) * rng.uniform(0.0, 0.6, 26)
    root_u = np.interp(s, t, np.abs(u))
    tip_u, tip_v = root_u + 0.05 + 0.03 * s, low - look.brow_width * (0.9 - 0.8 * s)
    hairs = np.stack((look.place(side * root_u, low), look.place(side * tip_u, tip_v)), 1)
    canvas.stroke(hairs, colour * 0.7, 0.003)


def draw_glasses(canvas: Canvas, look: Look) -> None:
    """Draw glasses on those who wear them; the far temple is hidden."""
    if not look.glasses:
        return
    t = np.linspace(0, 2 * np.pi, 30)
    frame = np.minimum(look.hair * 0.5, 60)
    for side in (-1, 1):
        u = side * look.eye_gap + 0.30 * np.sign(np.cos(t)) * np.abs(np.cos(t)) ** 0.7
        rim = look.place(u, 0.17 * np.sign(np.sin(t)) * np.abs(np.sin(t)) ** 0.7, 0.85)
        canvas.fill(rim, np.array((235.0, 240, 245)), 0.0, 0.08)
        canvas.stroke(rim, frame, 0.011)
        if side * look.yaw < 0.1:
            temple = look.place(side * np.array((look.eye_gap + 0.3, 0.93)), np.array((-0.05, -0.03)), 0.3)
            canvas.stroke(temple, frame, 0.009)
    canvas.stroke(look.place(np.array((-0.1, 0, 0.1)), np.array((-0.02, -0.045, -0.02)), 0.95), frame, 0.010)
