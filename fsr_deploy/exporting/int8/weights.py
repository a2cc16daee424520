"""Weights of convolutions, and the scales with which they become numbers of 8 bits and floats again."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fsr_deploy.exporting.int8.formats import INT8, NumberFormat


def weight_scales(weights: NDArray[np.float32], levels: int = INT8.largest) -> NDArray[np.float32]:
    """Return the scale of each output channel, (cout,), of weights (cout, cin, h, w).

    The largest weight of a channel becomes ``levels``.
    """
    return scales_of(np.abs(weights).reshape(len(weights), -1).max(axis=1), levels)


def scales_of(largest: NDArray[np.floating[Any]], levels: int = INT8.largest) -> NDArray[np.float32]:
    """Return the scales with which the largest magnitudes become ``levels``; 1 where they are zero or nearly so.

    Engines divide by a scale and take one below the smallest normal float for 0.
    """
    scales = largest / levels
    return np.where(scales >= np.finfo(np.float32).tiny, scales, 1.0).astype(np.float32)


def scales_in(
    scales: NDArray[np.float32], dtype: np.dtype[Any], number_format: NumberFormat = INT8
) -> NDArray[np.floating[Any]]:
    """Return scales in a float type: none smaller than it was, so that nothing is clipped, above 0 and finite.

    For FP8 none is below the smallest normal number of the type: the steps of small FP8 numbers are small themselves,
    and a product with a scale of few bits, which an FP16 engine stores, would lose them.
    """
    least = np.finfo(dtype).tiny if number_format.floating else 0
    wide = np.clip(scales, np.float32(least), np.float32(np.finfo(dtype).max))
    narrow = wide.astype(dtype)
    with np.errstate(over="ignore"):
        return np.where(narrow < wide, np.nextafter(narrow, dtype.type(np.inf)), narrow)


def in_steps(weights: NDArray[np.float32], scales: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Return weights (cout, cin, h, w) divided by their channel's scale, (cout,)."""
    return weights / scales.astype(np.float32)[:, None, None, None]


def to_floats(numbers: NDArray[np.float32], scales: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """Return what 8-bit numbers stand for, finite in the type of their scales, which quantises to the same again."""
    values = numbers * scales.astype(np.float32)[:, None, None, None]
    largest = np.float32(np.finfo(scales.dtype).max)
    return np.clip(values, -largest, largest).astype(scales.dtype)


def with_spare(values: NDArray[Any], spare: int) -> NDArray[Any]:
    """Return weights (cout, cin, h, w) or biases (cout,) with so many channels of zeros behind them."""
    return np.pad(values, [(0, spare)] + [(0, 0)] * (values.ndim - 1))
