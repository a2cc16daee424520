"""What the back ends share: a graph's facts, and what they refuse."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fsr_deploy.bundle.engine_file import EngineFile
from fsr_deploy.errors import InputError

_OUT_OF_MEMORY = ("failed to allocate memory", "out of memory", "bad allocation", "bad_alloc")


def facts_of(file: EngineFile, metadata: Mapping[str, str], *, on_cpu: bool) -> dict[str, Any]:
    """Return precision, training, batch size and more, as EngineInfo's fields, from the bundle or else the metadata."""
    if file.bundle:
        bundle = file.bundle
        facts = {"precision": bundle.precision, "trained": bundle.trained, "notes": bundle.notes}
        facts |= {"resizable": bundle.resizable, "template": bundle.template}
        best_batch = bundle.batches[1]
    else:
        trained = {"true": True, "false": False}.get(metadata.get("fsr.trained", ""))
        facts = {"precision": metadata.get("fsr.precision", "unknown"), "trained": trained}
        batches = metadata.get("fsr.batches", "").split(",")
        best_batch = int(batches[1]) if len(batches) == 3 and batches[1].isdigit() else 1
    # On a CPU a batch is no faster per face than single faces, and takes far more memory.
    return {**facts, "best_batch": 1 if on_cpu else best_batch}


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
