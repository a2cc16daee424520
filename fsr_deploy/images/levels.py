"""From what an engine gives to faces."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def as_faces(batch: NDArray[Any]) -> NDArray[np.uint8]:
    """Return an engine's output as (N, H, W, 3) uint8 RGB; floats, (N, 3, H, W) in [-1, 1], are rounded and clipped."""
    if batch.dtype == np.uint8:
        return batch
    levels = np.nan_to_num((batch.astype(np.float32) + 1) * np.float32(127.5))
    return np.ascontiguousarray(np.moveaxis(np.clip(np.round(levels), 0, 255).astype(np.uint8), 1, -1))
