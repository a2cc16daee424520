"""What every back end says of a batch that it does not take, and of one that it has no memory for."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fsr_deploy.errors import InputError

_OUT_OF_MEMORY = ("failed to allocate memory", "out of memory", "bad allocation", "bad_alloc")


def refuse_other_batches(batch: NDArray[np.uint8], lr_shape: tuple[int, int]) -> None:
    """Raise InputError where a batch is not one or more uint8 LR faces of ``lr_shape``, (h, w)."""
    expected = (*lr_shape, 3)
    if batch.dtype != np.uint8 or batch.ndim != 4 or batch.shape[1:] != expected or len(batch) == 0:
        raise InputError(f"a batch of {batch.dtype} {batch.shape}; this engine takes uint8 (N, {expected})")


def refuse_other_graphs(path: object, fits: bool, found: str) -> None:
    """Raise InputError for a graph whose input and output are not one batch of faces each; ``found`` lists them."""
    if not fits:
        raise InputError(
            f"{path}: not an engine that maps uint8 (N, h, w, 3) to uint8 (N, H, W, 3) with N free or 1; it has"
            f" {found}; export one with fsr-export (without --io float)"
        )


def is_out_of_memory(error: Exception) -> bool:
    """Tell whether a library failed because it could not allocate memory."""
    return isinstance(error, MemoryError) or any(sign in str(error).lower() for sign in _OUT_OF_MEMORY)
