"""FID, the Fréchet distance of Inception features (Heusel et al. 2017), from the user's weights and torch-fidelity."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from fsr_deploy.errors import MissingError
from fsr_deploy.models.measures import Measure, to_batch
from fsr_deploy.resize import Face

INCEPTION = "pt_inception-2015-12-05-6726825d.pth"
FILES = (INCEPTION,)


def frechet_distance(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Return the Fréchet distance of the Gaussians fitted to two sets of features, (N, D) and (M, D), N, M > 1.

    |mean difference|^2 + tr(A + B - 2 (A B)^1/2); the trace of the root is the sum of the roots of AB's eigenvalues.
    """
    covariance_a, covariance_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    roots = np.sqrt(np.clip(np.linalg.eigvals(covariance_a @ covariance_b).real, 0, None))
    mean = np.square(a.mean(0) - b.mean(0)).sum()
    return float(mean + np.trace(covariance_a) + np.trace(covariance_b) - 2 * roots.sum())


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

    return Measure("FID", False, lambda sr, hr: frechet_distance(features(sr), features(hr)))
