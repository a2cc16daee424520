"""Closeness of SR faces to HR faces, as the papers measure it: on Y (MATLAB's BT.601, 8 bit) and on RGB, labelled.

What needs weights or a package of its own has a file of its own: lpips.py, fid.py, niqe.py, identity.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from fsr_deploy.images.resize import Face


class Tally(Protocol):
    """A measure being taken: faces are added in batches, so that never all of them are in memory."""

    def add(self, sr: Sequence[Face], hr: Sequence[Face]) -> None:
        """Take in SR faces and their HR faces, each (S, S, 3) uint8 RGB."""
        ...

    def value(self) -> float:
        """Return the measure of all faces so far."""
        ...


class Mean:
    """The mean over the faces of what ``measure`` says of each pair."""

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
    """One column of a table; ``start`` begins to take it, of faces of S x S pixels, S at least ``smallest``.

    It needs ``fewest`` faces; of fewer than ``enough`` its value depends on how many they are.
    """

    name: str
    higher_is_better: bool
    start: Callable[[], Tally]
    smallest: int = 11
    fewest: int = 1
    enough: int = 1

    def compute(self, sr: Sequence[Face], hr: Sequence[Face]) -> float:
        """Return the value for faces that are all there, each (S, S, 3) uint8 RGB."""
        tally = self.start()
        tally.add(sr, hr)
        return tally.value()


def basic_measures() -> list[Measure]:
    """Return the measures that need nothing but this package: the mean over the faces of each."""
    return [
        Measure("PSNR Y (dB)", True, _mean(psnr, luma)),
        Measure("SSIM Y", True, _mean(ssim, luma)),
        Measure("PSNR RGB (dB)", True, _mean(psnr, _same)),
        Measure("SSIM RGB", True, _mean(ssim, _same)),
        Measure("VIF Y", True, _mean(vif, luma), smallest=41),
    ]


def luma(faces: Tensor) -> Tensor:
    """Return MATLAB's rgb2ycbcr Y, (N, 1, H, W) float64 whole numbers in [16, 235], of (N, 3, H, W) uint8 RGB."""
    weights = torch.tensor((65.481, 128.553, 24.966), dtype=torch.float64, device=faces.device).view(1, 3, 1, 1)
    return ((faces.double() * weights).sum(1, keepdim=True) / 255 + 16).round()


def psnr(a: Tensor, b: Tensor) -> Tensor:
    """Return the PSNR in dB of each image, (N,), of two (N, C, H, W) in [0, 255]; infinite where they are equal."""
    return 10 * torch.log10(255**2 / (a.double() - b.double()).square().mean((1, 2, 3)))


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Return the SSIM of each image, (N,), of two (N, C, H, W) in [0, 255], at least 11x11.

    Wang et al. 2004: Gaussian window of 11x11, sigma 1.5, the mean of the positions where it fits, and of channels.
    (torchmetrics also averages over positions where it does not fit, and differs by some hundredths.)
    """
    axis = torch.arange(-5, 6, dtype=torch.float64, device=a.device)
    bell = torch.exp(-axis.square() / (2 * 1.5**2))
    bell = bell / bell.sum()

    def blur(x: Tensor) -> Tensor:
        return F.conv2d(F.conv2d(x, bell.view(1, 1, 1, -1)), bell.view(1, 1, -1, 1))

    x, y = (image.double().flatten(0, 1)[:, None] for image in (a, b))
    mean_x, mean_y = blur(x), blur(y)
    variance_x, variance_y = blur(x * x) - mean_x**2, blur(y * y) - mean_y**2
    covariance = blur(x * y) - mean_x * mean_y
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    values = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    values = values / ((mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2))
    return values.mean((1, 2, 3)).view(a.shape[:2]).mean(1)


def vif(a: Tensor, b: Tensor) -> Tensor:
    """Return the visual information fidelity of each image, (N,), of two (N, 1, H, W) in [0, 255], at least 41x41.

    Sheikh and Bovik 2006, in the pixel domain, noise variance 2; ``b`` is the reference.
    """
    from torchmetrics.functional.image import visual_information_fidelity

    pairs = zip(a.double().split(1), b.double().split(1), strict=True)
    return torch.stack([visual_information_fidelity(x, y) for x, y in pairs])


def to_batch(face: Face) -> Tensor:
    """Return a face as (1, 3, H, W) uint8."""
    return torch.from_numpy(np.array(face)).permute(2, 0, 1)[None]


def _same(faces: Tensor) -> Tensor:
    return faces


def _mean(measure: Callable[[Tensor, Tensor], Tensor], view: Callable[[Tensor], Tensor]) -> Callable[[], Tally]:
    def of_face(sr: Face, hr: Face) -> float:
        return float(measure(view(to_batch(sr)), view(to_batch(hr))))

    return lambda: Mean(of_face)
