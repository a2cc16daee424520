"""NIQE, the distance of natural-scene statistics from those of pristine pictures (Mittal et al. 2013).

The pristine statistics come from the user's file. A 128x128 face holds only one of NIQE's 96x96 patches, too few for
the covariance that the measure compares: the patches of all faces are therefore pooled into one Gaussian (* our
choice; neither paper says how it got values for single faces). Compare such values only with each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fsr_deploy.errors import InputError
from fsr_deploy.images.opencv import cv2
from fsr_deploy.images.resize import Face
from fsr_deploy.metrics.pixel import Measure, luma

STATISTICS = "niqe_pris_params.npz"  # as BasicSR ships them: mu_pris_param and cov_pris_param
FILES = (STATISTICS,)
PATCH = 96
FEATURES = 36
SHAPES = np.arange(0.2, 10.001, 0.001)
Array = NDArray[np.float64]


def load_niqe(folder: Path) -> Measure:
    """Return the measure, which does not look at the HR faces; raises InputError for another file."""
    path = folder / STATISTICS
    try:
        with np.load(path, allow_pickle=False) as file:
            mean, covariance = file["mu_pris_param"].reshape(FEATURES), file["cov_pris_param"].reshape((FEATURES,) * 2)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{path}: not NIQE's statistics: {error}") from error

    return Measure("NIQE", False, lambda: _Pool(mean, covariance), smallest=PATCH)


class _Pool:
    """The patches of all SR faces; ``mean`` and ``covariance`` are those of pristine ones."""

    def __init__(self, mean: Array, covariance: Array) -> None:
        self._mean, self._covariance, self._patches = mean, covariance, np.empty((0, FEATURES))

    def add(self, sr: Sequence[Face], hr: Sequence[Face]) -> None:
        """Take in SR faces; the HR faces are not looked at."""
        self._patches = np.concatenate([self._patches, *(patch_features(luma(face)) for face in sr)])

    def value(self) -> float:
        """Return the distance of the Gaussians."""
        several = len(self._patches) > 1
        spread = np.cov(self._patches, rowvar=False) if several else np.zeros_like(self._covariance)
        offset = self._patches.mean(0) - self._mean
        return float(np.sqrt(offset @ np.linalg.pinv((self._covariance + spread) / 2) @ offset))


def patch_features(y: Array) -> Array:
    """Return 36 features for each whole 96x96 patch of a picture, (H, W) in [0, 255]: 18 at full size, 18 at half."""
    rows, columns = y.shape[0] // PATCH, y.shape[1] // PATCH
    y = y[: rows * PATCH, : columns * PATCH]
    half = Image.fromarray(y.astype(np.float32)).resize((y.shape[1] // 2, y.shape[0] // 2), Image.Resampling.BICUBIC)
    scales = ((_normalised(y), PATCH), (_normalised(np.asarray(half, np.float64)), PATCH // 2))
    return np.array(
        [
            np.concatenate([_statistics(n[r * s : (r + 1) * s, c * s : (c + 1) * s]) for n, s in scales])
            for c in range(columns)
            for r in range(rows)
        ]
    )


def fit_asymmetric(x: Array) -> tuple[float, float, float]:
    """Fit an asymmetric generalised Gaussian by moments (Lasmar et al. 2009): shape, left and right scale."""
    left, right = (np.sqrt(np.mean(np.square(side))) if side.size else 1e-9 for side in (x[x < 0], x[x > 0]))
    balance = left / right
    ratio = np.mean(np.abs(x)) ** 2 / np.mean(x**2)
    ratio *= (balance**3 + 1) * (balance + 1) / (balance**2 + 1) ** 2
    shape = SHAPES[np.argmin(np.square(_RATIOS - ratio))]
    scale = np.sqrt(np.exp(_log_gamma(1 / shape) - _log_gamma(3 / shape)))
    return float(shape), float(left * scale), float(right * scale)


def _normalised(y: Array) -> Array:
    """Return the picture with the local mean taken off and the local contrast divided out (MSCN)."""
    mean = cv2.GaussianBlur(y, (7, 7), 7 / 6, borderType=cv2.BORDER_REPLICATE)
    square = cv2.GaussianBlur(y * y, (7, 7), 7 / 6, borderType=cv2.BORDER_REPLICATE)
    normalised: Array = (y - mean) / (np.sqrt(np.abs(square - mean * mean)) + 1)
    return normalised


def _statistics(patch: Array) -> Array:
    shape, left, right = fit_asymmetric(patch)
    features = [shape, (left + right) / 2]
    for shift in ((0, 1), (1, 0), (1, 1), (1, -1)):
        shape, left, right = fit_asymmetric(patch * np.roll(patch, shift, (0, 1)))
        mean = (right - left) * np.exp(_log_gamma(2 / shape) - _log_gamma(1 / shape))
        features += [shape, float(mean), left, right]
    return np.array(features)


def _log_gamma(x: Array | float) -> Array:
    """Return ln Gamma for positive numbers (Stirling's series after six steps of the recurrence)."""
    x = np.asarray(x, np.float64)
    product = np.prod([x + k for k in range(6)], axis=0)
    z = x + 6
    series = 1 / (12 * z) - 1 / (360 * z**3) + 1 / (1260 * z**5)
    gamma: Array = (z - 0.5) * np.log(z) - z + 0.5 * np.log(2 * np.pi) + series - np.log(product)
    return gamma


_RATIOS = np.exp(2 * _log_gamma(2 / SHAPES) - _log_gamma(1 / SHAPES) - _log_gamma(3 / SHAPES))
