"""From a histogram of magnitudes to the range that 8 bits reach to, kept for the next export of the same network."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from fsr_deploy._util import cache_folder as cachedir
from fsr_deploy._util.cache_folder import cache_folder
from fsr_deploy.exporting.int8.calibration import BINS, Histogram

PERCENTILE = 99.99
ENTROPY_LEVELS = 128
STEP = 16


def largest(histogram: Histogram) -> float:
    """Return the largest magnitude: nothing is clipped."""
    return histogram.largest


def percentile(histogram: Histogram) -> float:
    """Return the magnitude that 99.99 % of the values stay below."""
    total = histogram.counts.sum()
    reached = int(np.searchsorted(np.cumsum(histogram.counts), total * PERCENTILE / 100))
    return min(histogram.largest, histogram.limit * (min(reached, BINS - 1) + 1) / BINS)


def entropy(histogram: Histogram) -> float:
    """Return the magnitude whose 128 levels lose least information (Migacz, GTC 2017).

    That is the least Kullback-Leibler divergence between the clipped histogram and itself at 128 levels.
    """
    candidates = range(ENTROPY_LEVELS, BINS + 1, STEP)
    divergences = [_divergence(histogram.counts, end) for end in candidates]
    best = candidates[int(np.argmin(divergences))]
    return min(histogram.largest, histogram.limit * best / BINS)


CALIBRATORS: dict[str, Callable[[Histogram], float]] = {
    "entropy": entropy,
    "percentile": percentile,
    "max": largest,
}


def _divergence(counts: NDArray[np.int64], end: int) -> float:
    """Return KL(clipped || quantised) of the first ``end`` bins, the clipped values counted in the last of them."""
    inside = counts[:end].astype(np.float64)
    clipped = inside.copy()
    clipped[-1] += counts[end:].sum()
    if not inside.any():
        return float("inf")
    level = np.arange(end) * ENTROPY_LEVELS // end
    occupied = inside > 0
    sums = np.bincount(level, inside, ENTROPY_LEVELS)
    sizes = np.bincount(level, occupied, ENTROPY_LEVELS)
    quantised = np.where(occupied, (sums / np.maximum(sizes, 1))[level], 0.0)
    p, q = clipped / clipped.sum(), quantised / quantised.sum()
    q = np.maximum(q, 1e-12)
    some = p > 0
    return float((p[some] * np.log(p[some] / q[some])).sum())


def cache_path(
    model: ModelProto, tensors: Sequence[str], faces: Sequence[tuple[str, NDArray[Any]]], calibrator: str
) -> Path | None:
    """Return where the ranges of these tensors of this graph over these faces are kept; None without a cache."""
    folder = cache_folder()
    if folder is None:
        return None
    digest = hashlib.sha256(model.SerializeToString(deterministic=True))
    for _, face in faces:
        digest.update(np.ascontiguousarray(face).tobytes())
    digest.update(json.dumps([list(tensors), calibrator]).encode())
    return folder / f"calibration-{digest.hexdigest()[:32]}.json"


def load(path: Path | None, tensors: Sequence[str]) -> dict[str, float] | None:
    """Return cached ranges, None where there are none or they are damaged."""
    if path is None:
        return None
    try:
        data = json.loads(path.read_bytes())
        return {name: float(data[name]) for name in tensors}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def keep(path: Path | None, ranges: Mapping[str, float]) -> None:
    """Write ranges, whole or not at all; a cache that cannot be written costs a warning only."""
    if path is not None:
        cachedir.keep(path, json.dumps(dict(ranges), indent=1).encode())
