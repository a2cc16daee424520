"""Weights of convolutions in 8 bits, and the scales that turn them into floats again."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fsr_deploy.exporting.int8.sites import INT8_MAX


def weight_scales(weights: NDArray[np.float32], levels: int = INT8_MAX) -> NDArray[np.float32]:
    """Return the scale of each output channel, (cout,), of weights (cout, cin, h, w).

    The largest weight of a channel becomes ``levels``.
    """
    return scales_of(np.abs(weights).reshape(len(weights), -1).max(axis=1), levels)


def scales_of(largest: NDArray[np.floating[Any]], levels: int = INT8_MAX) -> NDArray[np.float32]:
    """Return the scales with which the largest magnitudes become ``levels``; 1 where they are zero or nearly so.

    Engines divide by a scale and take one below the smallest normal float for 0.
    """
    scales = largest / levels
    return np.where(scales >= np.finfo(np.float32).tiny, scales, 1.0).astype(np.float32)


def scales_in(scales: NDArray[np.float32], dtype: np.dtype[Any]) -> NDArray[np.floating[Any]]:
    """Return scales in a float type: none smaller than it was, so that nothing is clipped, above 0 and finite."""
    wide = np.minimum(scales, np.float32(np.finfo(dtype).max))
    narrow = wide.astype(dtype)
    with np.errstate(over="ignore"):
        return np.where(narrow < wide, np.nextafter(narrow, dtype.type(np.inf)), narrow)


def to_integers(
    weights: NDArray[np.float32], scales: NDArray[np.floating[Any]], levels: int = INT8_MAX
) -> NDArray[np.int8]:
    """Return weights (cout, cin, h, w) in steps of their channel's scale, (cout,), none larger than ``levels``."""
    steps = weights / scales.astype(np.float32)[:, None, None, None]
    return np.clip(np.round(steps), -levels, levels).astype(np.int8)


def to_floats(integers: NDArray[np.int8], scales: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """Return what 8-bit weights stand for, finite in the type of their scales, which quantises to the same again."""
    values = integers * scales.astype(np.float32)[:, None, None, None]
    largest = np.float32(np.finfo(scales.dtype).max)
    return np.clip(values, -largest, largest).astype(scales.dtype)


def with_spare(values: NDArray[Any], spare: int) -> NDArray[Any]:
    """Return weights (cout, cin, h, w) or biases (cout,) with so many channels of zeros behind them."""
    return np.pad(values, [(0, spare)] + [(0, 0)] * (values.ndim - 1))
