"""Ranges of earlier calibrations, so that a second export of the same network and faces need not run them again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from fsr_deploy._util import cache_folder as cachedir
from fsr_deploy._util.cache_folder import cache_folder


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
