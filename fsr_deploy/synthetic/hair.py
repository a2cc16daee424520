"""Hair and beards, strand by strand."""

from __future__ import annotations

import numpy as np

from fsr_deploy.synthetic.canvas import Canvas, Points
from fsr_deploy.synthetic.look import SHADOW, Look


def _strands(canvas: Canvas, look: Look, lines: Points, rng: np.random.Generator, width: float = 0.004) -> None:
    """Draw hairs, (count, points, 2), in five tones; those towards the light are brighter."""
    towards = np.tanh(((lines.mean(1) - look.centre) / look.radii) @ look.light[:2] * 0.8)
    tone = np.argsort(np.argsort(towards + rng.normal(0, 0.9, len(lines))))
    for level, gain in enumerate((0.55, 0.78, 1.0, 1.2, 1.42)):
        chosen = lines[tone * 5 // len(lines) == level]
        canvas.stroke(chosen, look.hair * gain + 30 * (gain - 1), width)


def draw_hair_behind(canvas: Canvas, look: Look, rng: np.random.Generator) -> None:
    """Draw the hair that hangs behind the face: over the crown to the temples, then down to the hem."""
    if look.style not in ("long", "bob", "curly"):
        return
    hem = {"long": look.length, "bob": 0.75, "curly": 0.45}[look.style]
    wide = look.volume + 0.03

    def fall(s: Points, across: Points, below: Points | float) -> tuple[Points, Points]:
        """Return (u, v) along a strand: ``s`` 0..1 over the crown, 1..2 from the temple to the hem."""
        crown, drop = np.clip(s, 0, 1) * np.pi / 2, np.clip(s - 1, 0, 1)
        return across * (np.sin(crown) + 0.10 * np.sin(np.pi * drop) + 0.04 * drop), below * drop - wide * np.cos(crown)

    s = np.linspace(0, 2, 20)
    right, left = (look.place(*fall(s, np.array(side * wide), hem), 0) for side in (1, -1))
    canvas.fill(np.concatenate((left[::-1], right)), look.hair * 0.55, 0.004)
    count = 110
    across = rng.uniform(0.6, 1.02, (count, 1)) * rng.choice((-1, 1), (count, 1)) * wide
    u, v = fall(np.linspace(0.3, 2, 10), across, hem + rng.normal(0, 0.06, (count, 1)))
    wave = 0.12 if look.style == "curly" else rng.uniform(0.01, 0.06)
    ripple = wave * np.sin(rng.uniform(2, 5) * v + rng.normal(0, 0.7, (count, 1))) * np.clip(v + 0.4, 0, 1)
    _strands(canvas, look, look.place(u + ripple, v, 0), rng, 0.006)


def draw_hair_in_front(canvas: Canvas, look: Look, rng: np.random.Generator) -> None:
    """Draw the cap of hair over the skull, with the shadow that it throws on the forehead."""
    if look.style == "bald":
        return
    reach = {"long": 1.9, "bob": 1.85, "up": 1.7, "curly": 1.65, "short": 1.55, "back": 1.55}[look.style]
    angle = np.linspace(-reach, reach, 40)
    shape = np.concatenate((_cap(look, reach, angle, 0.0), _cap(look, reach, angle, 1.0)[::-1]))
    canvas.fill(shape + np.array((0, 0.016)), look.skin * SHADOW * 0.8, 0.02, 0.45)
    canvas.fill(shape, look.hair * 0.7, 0.004)
    count, s = 190, np.linspace(0, 1, 7)
    if look.style == "curly":
        at = _cap(look, reach, rng.uniform(-reach, reach, count), rng.uniform(0.0, 1.05, count))
        turn = rng.uniform(0, 2 * np.pi, (count, 1)) + 4.5 * s
        radius = rng.uniform(0.008, 0.026, (count, 1, 1))
        lines = at[:, None] + radius * np.stack((np.cos(turn), np.sin(turn)), -1)
    elif look.style in ("back", "up"):
        start = rng.uniform(-reach, reach, (count, 1))
        outwards = np.clip(s * rng.uniform(0.6, 1.1, (count, 1)) - 0.02, -0.02, 1.02)
        lines = _cap(look, reach, start * (1 - 0.25 * s), outwards)
    else:
        side = rng.choice((-1.0, 1.0), (count, 1))
        m = rng.uniform(-0.03, 1.03, (count, 1)) + rng.normal(0, 0.05, (count, 1)) * s
        end = side * reach * rng.uniform(0.75, 1.05, (count, 1))
        lines = _cap(look, reach, look.parting + (end - look.parting) * s, m)
    _strands(canvas, look, lines, rng)


def _cap(look: Look, reach: float, angle: Points, m: Points | float) -> Points:
    """Place hair at an angle from the crown (radians, up to ``reach``), ``m`` = 0 at the hairline, 1 at the outline."""
    edge = np.abs(angle) / reach
    inner_u = 0.92 * np.sin(angle) * (0.55 + 0.45 * edge)
    inner_v = look.hairline + (0.16 - look.hairline) * edge**2.6
    inner_v -= 0.10 * np.exp(-(((angle - look.parting) / 0.25) ** 2))
    outer_u, outer_v = look.volume * np.sin(angle) * 0.97, -look.volume * np.cos(angle) * 0.98
    u, v = inner_u + (outer_u - inner_u) * m, inner_v + (outer_v - inner_v) * m
    return look.place(u + 0.35 * np.sin(look.yaw) * (1 - m), v, 0)


def draw_beard(canvas: Canvas, look: Look, rng: np.random.Generator) -> None:
    """Draw bristles around the mouth and along the jaw of those who have a beard."""
    if not look.beard:
        return
    t = np.linspace(-1, 1, 25)
    edge = look.place(0.86 * t, 0.50 - 0.32 * np.abs(t) ** 3 + 0.02, 0.4)
    jaw = look.place(0.9 * t + 0.2 * np.sin(look.yaw), 0.2 + 0.82 * np.sqrt(np.clip(1 - t**2, 0, 1)), 0.0)
    shadow = np.concatenate((edge, jaw[::-1]))
    mouth = look.place(0.30 * np.cos(np.pi * t), 0.62 + 0.10 * np.sin(np.pi * t), 0.85)
    window, cover = canvas.mask(shadow, 0.02)
    hole_window, hole = canvas.mask(mouth, 0.012)
    whole = np.zeros((canvas.side, canvas.side), np.float32)
    whole[window] = cover
    whole[hole_window] *= 1 - hole
    paint = canvas.pixels.copy()
    count = int(420 * look.beard)
    root = rng.uniform((-0.9, 0.15), (0.9, 1.02), (count, 2))
    roots = look.place(root[:, 0], root[:, 1], 0.6)
    paint[:] = paint * 0.35 + look.hair * 0.6
    fall = np.stack((0.012 * root[:, 0], np.full(count, 0.022)), -1) + rng.normal(0, 0.004, (count, 2))
    bristles = np.stack((roots, roots + fall * (0.4 + look.beard)), 1)
    for part, gain in zip(np.array_split(bristles, 3), (0.6, 1.0, 1.35), strict=True):
        beard = Canvas(canvas.side)
        beard.pixels = paint
        beard.stroke(part, look.hair * gain, 0.003)
    canvas.paste((slice(None), slice(None)), whole * (0.35 + 0.6 * look.beard), paint)
