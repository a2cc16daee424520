"""Closeness of pictures pixel by pixel: PSNR, SSIM and VIF in NumPy, for the proof of engines and for evaluation.

The papers measure on Y (MATLAB's BT.601, 8 bit) and some on RGB; each measure here says which. What needs weights or a
package of its own has a file of its own: lpips.py, fid.py, niqe.py, identity.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fsr_deploy.images.opencv import cv2
from fsr_deploy.images.resize import Face

Array = NDArray[Any]
PEAK = 255.0
SSIM_SIDE, SSIM_SIGMA = 11, 1.5
VIF_SCALES, VIF_NOISE, VIF_LEAST = 4, 2.0, 1e-10


class RunningMeasure(Protocol):
    """A measure in progress: faces are added in batches, so that they need not all be in memory."""

    def add(self, sr: Sequence[Face], hr: Sequence[Face]) -> None:
        """Take in SR faces and their HR faces, each (S, S, 3) uint8 RGB."""
        ...

    def value(self) -> float:
        """Return the measure over all faces so far."""
        ...


class Mean:
    """The mean of ``measure`` over all pairs of faces."""

    def __init__(self, measure: Callable[[Face, Face], float]) -> None:
        self._measure, self._total, self._count = measure, 0.0, 0

    def add(self, sr: Sequence[Face], hr: Sequence[Face]) -> None:
        """Take in SR faces and their HR faces."""
        for one, truth in zip(sr, hr, strict=True):
            self._total += self._measure(one, truth)
            self._count += 1

    def value(self) -> float:
        """Return the mean."""
        return self._total / self._count


@dataclass(frozen=True)
class Measure:
    """One column of a table; ``start`` begins a measure of faces of S x S pixels, S at least ``smallest``. It needs
    ``fewest`` faces; with fewer than ``enough`` its value depends on their number.
    """

    name: str
    higher_is_better: bool
    start: Callable[[], RunningMeasure]
    smallest: int = SSIM_SIDE
    fewest: int = 1
    enough: int = 1

    def compute(self, sr: Sequence[Face], hr: Sequence[Face]) -> float:
        """Return the value for lists of faces, each (S, S, 3) uint8 RGB."""
        tally = self.start()
        tally.add(sr, hr)
        return tally.value()


def basic_measures() -> list[Measure]:
    """Return the measures that need only this package, each as the mean over the faces."""
    return [
        Measure("PSNR Y (dB)", True, _mean(psnr, luma)),
        Measure("SSIM Y", True, _mean(ssim, luma)),
        Measure("PSNR RGB (dB)", True, _mean(psnr, _same)),
        Measure("SSIM RGB", True, _mean(ssim, _same)),
        Measure("VIF Y", True, _mean(vif, luma), smallest=41),
    ]


def luma(face: Face) -> NDArray[np.float64]:
    """Return MATLAB's rgb2ycbcr Y, (H, W) whole numbers in [16, 235], of an (H, W, 3) uint8 RGB face."""
    return np.round(face @ np.array((65.481, 128.553, 24.966)) / 255 + 16)


def psnr(one: Array, other: Array) -> float:
    """Return the PSNR in dB of two pictures of one shape, in levels of [0, 255]; infinite where they are equal."""
    error = float(np.square(one.astype(np.float64) - other).mean())
    return float(10 * np.log10(PEAK**2 / error)) if error else float("inf")


def ssim(one: Array, other: Array) -> float:
    """Return the SSIM of two pictures, (H, W) or (H, W, C) in levels of [0, 255], at least 11x11.

    Wang et al. 2004: Gaussian window of 11x11, sigma 1.5, the mean of the positions where it fits, and of channels.
    """
    c1, c2 = (0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2
    x, y = one.astype(np.float64), other.astype(np.float64)
    mean_x, mean_y = (_blurred(image, SSIM_SIDE, SSIM_SIGMA) for image in (x, y))
    var_x, var_y = (
        _blurred(image * image, SSIM_SIDE, SSIM_SIGMA) - mean**2 for image, mean in ((x, mean_x), (y, mean_y))
    )
    covariance = _blurred(x * y, SSIM_SIDE, SSIM_SIGMA) - mean_x * mean_y
    values = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    return float((values / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))).mean())


def vif(picture: Array, reference: Array) -> float:
    """Return the visual information fidelity of a picture, (H, W) in levels of [0, 255], at least 41x41.

    Sheikh and Bovik 2006, in the pixel domain: at each of four scales, the picture is modelled as the reference times a
    gain plus noise; the value is the share of the reference's information that remains. 1 for equal pictures.
    """
    x, y = reference.astype(np.float64), picture.astype(np.float64)
    kept = held = 0.0
    for scale in range(VIF_SCALES):
        side = 2 ** (VIF_SCALES - scale) + 1
        if scale:
            x, y = (_blurred(image, side, side / 5)[::2, ::2] for image in (x, y))
        mean_x, mean_y = _blurred(x, side, side / 5), _blurred(y, side, side / 5)
        var_x = np.maximum(_blurred(x * x, side, side / 5) - mean_x**2, 0)
        var_y = np.maximum(_blurred(y * y, side, side / 5) - mean_y**2, 0)
        covariance = _blurred(x * y, side, side / 5) - mean_x * mean_y
        gain, noise = _channel(var_x, var_y, covariance)
        var_x = np.where(var_x < VIF_LEAST, 0, var_x)
        kept += float(np.log10(1 + gain**2 * var_x / (noise + VIF_NOISE)).sum())
        held += float(np.log10(1 + var_x / VIF_NOISE).sum())
    return kept / held if held else 1.0


def _channel(var_x: Array, var_y: Array, covariance: Array) -> tuple[Array, Array]:
    """Return the gain and the variance of the noise that turn the reference's patches into the picture's."""
    gain = covariance / (var_x + VIF_LEAST)
    noise = var_y - gain * covariance
    flat = var_x < VIF_LEAST
    gain, noise = np.where(flat, 0, gain), np.where(flat, var_y, noise)
    still = var_y < VIF_LEAST
    gain, noise = np.where(still, 0, gain), np.where(still, 0, noise)
    noise = np.where(gain < 0, var_y, noise)
    return np.maximum(gain, 0), np.maximum(noise, VIF_LEAST)


def _blurred(image: NDArray[np.float64], side: int, sigma: float) -> Array:
    """Return the means of a picture under a Gaussian window, at the positions where the window fits."""
    half = side // 2
    return np.asarray(cv2.GaussianBlur(image, (side, side), sigma))[half:-half, half:-half]


def _same(face: Face) -> Array:
    return face


def _mean(measure: Callable[[Array, Array], float], view: Callable[[Face], Array]) -> Callable[[], RunningMeasure]:
    return lambda: Mean(lambda sr, hr: measure(view(sr), view(hr)))
