"""Who is drawn: colours, proportions, pose and light of one portrait."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fsr_deploy.synthetic.canvas import Colour, Points

SKINS = (
    (255, 224, 200),
    (244, 205, 176),
    (229, 184, 150),
    (206, 156, 118),
    (172, 120, 84),
    (134, 88, 60),
    (98, 62, 44),
)
HAIRS = (
    (28, 24, 26),
    (52, 36, 28),
    (86, 58, 40),
    (118, 80, 50),
    (138, 78, 46),
    (188, 152, 104),
    (212, 188, 150),
    (146, 144, 146),
)
IRISES = ((84, 52, 28), (58, 38, 26), (104, 84, 44), (74, 104, 70), (72, 112, 148), (110, 132, 146))
CLOTHES = (
    (40, 48, 66),
    (176, 54, 50),
    (226, 226, 222),
    (58, 92, 82),
    (96, 76, 120),
    (204, 160, 70),
    (52, 52, 54),
    (88, 124, 168),
)
SHADOW = np.array((0.62, 0.46, 0.42))  # what skin is multiplied by where no light reaches
Palette = Sequence[tuple[int, int, int]]


@dataclass(frozen=True)
class Look:
    """Everything that is decided before drawing; lengths in fractions of the picture or of the head's radii."""

    centre: Points
    radii: Points
    yaw: float
    pitch: float
    roll: float
    jaw: float
    skin: Colour
    hair: Colour
    iris: Colour
    lips: Colour
    light: Points
    ambient: float
    style: str
    length: float
    parting: float
    hairline: float
    volume: float
    eye_gap: float
    eye_size: float
    eye_open: float
    eye_tilt: float
    gaze: Points
    brow_lift: float
    brow_arch: float
    brow_width: float
    nose_width: float
    nose_length: float
    mouth_width: float
    mouth_full: float
    smile: float
    teeth: float
    makeup: float
    beard: float
    glasses: bool

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Look:
        """Draw a person, a pose and a light."""
        soft = rng.random() < 0.5  # softer features, more often long hair and make-up; otherwise sometimes a beard
        skin = pick(rng, SKINS, 10)
        tone = skin.mean() / 200
        hairs = HAIRS if tone > 0.75 else HAIRS[:3]
        smile = rng.uniform(-0.3, 1.0)
        azimuth, height = rng.uniform(-1.3, 1.3), rng.uniform(-0.1, 0.9)
        light = np.array((np.sin(azimuth), -np.sin(height), np.cos(azimuth) * np.cos(height) + 0.35))
        styles = ("long", "long", "bob", "up", "curly") if soft else ("short", "short", "back", "curly", "bald")
        makeup = rng.uniform(0.3, 1.0) if soft else 0.0
        return cls(
            centre=np.array((0.5, 0.525)) + rng.normal(0, (0.012, 0.012)),
            radii=np.array((0.285, 0.395)) * rng.uniform(0.93, 1.07, 2),
            yaw=rng.normal(0, 0.24),
            pitch=rng.normal(0, 0.10),
            roll=rng.normal(0, 0.07),
            jaw=rng.uniform(0.0, 0.5) if soft else rng.uniform(0.4, 1.0),
            skin=skin,
            hair=pick(rng, hairs, 8),
            iris=pick(rng, IRISES if tone > 0.75 else IRISES[:3], 10),
            lips=skin * (0.82, 0.58, 0.58) * (1 - 0.4 * makeup) + np.array((168, 44, 62)) * 0.4 * makeup,
            light=light / np.linalg.norm(light),
            ambient=rng.uniform(0.35, 0.6),
            style=str(rng.choice(styles)),
            length=rng.uniform(1.0, 1.5),
            parting=rng.uniform(-0.6, 0.6),
            hairline=rng.uniform(-0.72, -0.5),
            volume=rng.uniform(1.06, 1.2),
            eye_gap=rng.uniform(0.37, 0.43),
            eye_size=rng.uniform(0.19, 0.225) * (1.06 if soft else 1.0),
            eye_open=rng.uniform(0.3, 0.55) * (1.1 if soft else 0.95) - 0.06 * max(smile, 0),
            eye_tilt=rng.uniform(-0.10, 0.02),
            gaze=rng.normal(0, (0.16, 0.08)),
            brow_lift=rng.uniform(0.19, 0.25),
            brow_arch=rng.uniform(0.03, 0.10),
            brow_width=rng.uniform(0.03, 0.045) if soft else rng.uniform(0.045, 0.07),
            nose_width=rng.uniform(0.16, 0.21) if soft else rng.uniform(0.18, 0.25),
            nose_length=rng.uniform(0.30, 0.38),
            mouth_width=rng.uniform(0.27, 0.35) * (1 + 0.2 * max(smile, 0)),
            mouth_full=rng.uniform(0.055, 0.085) if soft else rng.uniform(0.035, 0.065),
            smile=smile,
            teeth=rng.uniform(0.4, 1.0) if smile > 0.35 and rng.random() < 0.7 else 0.0,
            makeup=makeup,
            beard=0.0 if soft or rng.random() < 0.55 else rng.uniform(0.3, 1.0),
            glasses=bool(rng.random() < 0.12),
        )

    def place(self, u: Points | float, v: Points | float, depth: float = 0.75) -> Points:
        """Project points of the face, (u, v) in head radii from its middle, onto the picture: (n, 2).

        The head is an ellipsoid, so that turning it moves the nose more than the ears. ``depth`` 0 is the outline.
        """
        u, v = np.broadcast_arrays(np.asarray(u, float), np.asarray(v, float))
        z = depth * np.sqrt(np.clip(1 - 0.8 * u**2 - 0.5 * v**2, 0, None))
        across = u * (1 - (1 - np.cos(self.yaw)) * min(depth, 1)) + z * np.sin(self.yaw)
        down = v + z * np.sin(self.pitch)
        x, y = across * self.radii[0], down * self.radii[1]
        c, s = np.cos(self.roll), np.sin(self.roll)
        return np.stack((x * c - y * s, x * s + y * c), -1) + self.centre

    def outline(self, grow: float = 1.0) -> Points:
        """Return the outline of skull and jaw as a polygon."""
        t = np.linspace(0, 2 * np.pi, 60, endpoint=False)
        u, v = np.sin(t), -np.cos(t)
        below, above = np.clip(v, 0, 1), np.clip(-v, 0, 1)
        u = (
            np.sign(u)
            * np.abs(u) ** (1 - 0.25 * self.jaw * below - 0.22 * above)
            * (0.94 - 0.06 * below * (1 - self.jaw))
        )
        chin = 0.30 * np.sin(self.yaw) * below
        return self.place(grow * u + chin, grow * v, depth=0)


def pick(rng: np.random.Generator, palette: Palette, spread: float) -> Colour:
    """Return a colour of a palette, varied a little, mostly in brightness."""
    colour = np.array(palette[int(rng.integers(len(palette)))]) + rng.normal(0, spread)
    return np.clip(colour + rng.normal(0, 0.4 * spread, 3), 8, 250)
