"""FID, the Fréchet distance of Inception features (Heusel et al. 2017), from the user's weights and torch-fidelity."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from fsr_deploy.errors import MissingError
from fsr_deploy.images.resize import Face
from fsr_deploy.metrics.pixel import Measure
from fsr_deploy.models.tensors import to_batch

INCEPTION = "pt_inception-2015-12-05-6726825d.pth"
FILES = (INCEPTION,)
FEATURES = 2048  # with fewer faces, the covariance has not full rank


class Moments:
    """Mean and covariance of features that come in batches; it keeps sums only."""

    def __init__(self) -> None:
        self._count, self._sum, self._products = 0, np.zeros(0), np.zeros((0, 0))

    def add(self, features: NDArray[np.float64]) -> Moments:
        """Take in features, (N, D), and return itself."""
        if not self._count:
            self._sum, self._products = np.zeros(features.shape[1]), np.zeros((features.shape[1],) * 2)
        self._count += len(features)
        self._sum += features.sum(0)
        self._products += features.T @ features
        return self

    @property
    def mean(self) -> NDArray[np.float64]:
        """The mean, (D,)."""
        return self._sum / self._count

    @property
    def covariance(self) -> NDArray[np.float64]:
        """The covariance, (D, D), of at least two features."""
        return (self._products - self._count * np.outer(self.mean, self.mean)) / (self._count - 1)


def frechet_distance(a: Moments, b: Moments) -> float:
    """Return the Fréchet distance of the Gaussians fitted to two sets of features, each of at least two.

    |mean difference|^2 + tr(A + B - 2 (A B)^1/2); the trace of the root is the sum of the roots of AB's eigenvalues.
    """
    covariance_a, covariance_b = a.covariance, b.covariance
    roots = np.sqrt(np.clip(np.linalg.eigvals(covariance_a @ covariance_b).real, 0, None))
    mean = np.square(a.mean - b.mean).sum()
    return float(mean + np.trace(covariance_a) + np.trace(covariance_b) - 2 * roots.sum())


class _Distance:
    """The features of all SR and all HR faces; ``features`` computes those of a batch, (N, 2048)."""

    def __init__(self, features: Callable[[Sequence[Face]], NDArray[np.float64]]) -> None:
        self._features, self._sr, self._hr = features, Moments(), Moments()

    def add(self, sr: Sequence[Face], hr: Sequence[Face]) -> None:
        """Take in SR and HR faces."""
        self._sr.add(self._features(sr))
        self._hr.add(self._features(hr))

    def value(self) -> float:
        """Return the distance."""
        return frechet_distance(self._sr, self._hr)


def load_fid(folder: Path, device: torch.device) -> Measure:
    """Return the measure; raises MissingError where torch-fidelity is not installed."""
    try:
        inception = importlib.import_module("torch_fidelity.feature_extractor_inceptionv3")
    except (ImportError, RuntimeError) as error:
        raise MissingError(f"the package torch-fidelity, with the torchvision of this PyTorch ({error})") from error
    network = inception.FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], str(folder / INCEPTION))
    network.to(device).eval()

    @torch.inference_mode()
    def features(faces: Sequence[Face]) -> NDArray[np.float64]:
        return np.concatenate([network(to_batch(face).to(device))[0].double().cpu().numpy() for face in faces])

    return Measure("FID", False, lambda: _Distance(features), fewest=2, enough=FEATURES)
