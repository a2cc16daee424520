"""Drawn scenes with faces whose boxes and landmarks are known, and engines that are easy to judge."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fsr_deploy.faces.face import Face
from fsr_deploy.images.resize import resize
from fsr_deploy.runtime.session import Batch, EngineInfo

# In a face that was aligned as CelebA's are: left eye, right eye, nose, corners of the mouth.
TEMPLATE = ((0.39, 0.51), (0.61, 0.51), (0.5, 0.65), (0.41, 0.74), (0.59, 0.74))
INFO = EngineInfo("scenes", "cpu", "fp32", "0" * 64, (32, 32), (128, 128), best_batch=4)


class Painter:
    """A session whose engine is a function of one face."""

    in_flight = 1

    def __init__(self, paint: Callable[[NDArray[np.uint8]], NDArray[np.uint8]], info: EngineInfo = INFO) -> None:
        self.info = info
        self.batches: list[int] = []
        self._paint = paint

    def upscale(self, batch: Batch) -> Batch:
        assert batch.shape[1:] == (*self.info.lr_shape, 3)
        self.batches.append(len(batch))
        return np.stack([self._paint(face) for face in batch])

    def close(self) -> None:
        pass


def identity(side: int, template: tuple[tuple[float, float], ...] | None = TEMPLATE) -> Painter:
    """An engine that returns its faces, ``side`` pixels wide and high."""
    return Painter(lambda face: face, replace(INFO, lr_shape=(side, side), sr_shape=(side, side), template=template))


def bicubic(brighter: int = 0, template: tuple[tuple[float, float], ...] | None = TEMPLATE) -> Painter:
    """An engine that enlarges its faces by bicubic, and makes them brighter."""

    def paint(face: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return np.clip(resize(face, INFO.sr_shape).astype(int) + brighter, 0, 255).astype(np.uint8)

    return Painter(paint, replace(INFO, template=template))


def hills(height: int, width: int, dtype: type = np.uint8) -> NDArray[np.uint8 | np.uint16]:
    """A scene without edges: waves of 40 pixels and more, other ones in each colour."""
    y, x = np.mgrid[0:height, 0:width] + 0.5
    waves = [np.sin(x / a) * np.cos(y / b + c) for a, b, c in ((11, 9, 0), (8, 13, 1), (15, 7, 2))]
    levels = 128 + 60 * np.stack(waves, -1)
    return np.rint(levels * (257 if dtype is np.uint16 else 1)).astype(dtype)


def dot(height: int, width: int, x: float, y: float, radius: float = 3.0) -> NDArray[np.uint8]:
    """A grey scene with a soft white dot at (x, y)."""
    down, across = np.mgrid[0:height, 0:width] + 0.5
    light = np.exp(-((across - x) ** 2 + (down - y) ** 2) / (2 * radius**2))
    return np.repeat(np.rint(60 + 150 * light)[..., None], 3, -1).astype(np.uint8)


def middle_of_light(picture: NDArray[np.uint8]) -> tuple[float, float]:
    """The middle (x, y) of what is brighter than the grey around it."""
    light = np.clip(picture[..., 0].astype(float) - 75, 0, None)
    y, x = np.mgrid[0 : picture.shape[0], 0 : picture.shape[1]] + 0.5
    return float((light * x).sum() / light.sum()), float((light * y).sum() / light.sum())


def face_at(x: float, y: float, side: float, degrees: float = 0.0) -> Face:
    """A face whose aligned picture is a square around (x, y), turned by so many degrees."""
    angle = math.radians(degrees)
    turn = side * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    marks = (np.array(TEMPLATE) - 0.5) @ turn.T + (x, y)
    box = side / 1.6
    return Face(x - box / 2, y - box / 2, box, box, tuple((float(a), float(b)) for a, b in marks))
