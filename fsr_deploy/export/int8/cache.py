"""Ranges of earlier calibrations, so that a second export of the same network and faces need not run them again."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from fsr_deploy.console import warn
from fsr_deploy.errors import InputError
from fsr_deploy.images import write_file


def cache_path(
    model: ModelProto, tensors: Sequence[str], faces: Sequence[tuple[str, NDArray[Any]]], calibrator: str
) -> Path:
    """Return where the ranges of these tensors of this graph over these faces are kept, in the user's cache."""
    digest = hashlib.sha256(model.SerializeToString(deterministic=True))
    for _, face in faces:
        digest.update(np.ascontiguousarray(face).tobytes())
    digest.update(json.dumps([list(tensors), calibrator]).encode())
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "fsr-deploy" / f"calibration-{digest.hexdigest()[:32]}.json"


def load(path: Path, tensors: Sequence[str]) -> dict[str, float] | None:
    """Return cached ranges, None where there are none or they are damaged."""
    try:
        data = json.loads(path.read_bytes())
        return {name: float(data[name]) for name in tensors}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def keep(path: Path, ranges: Mapping[str, float]) -> None:
    """Write ranges, whole or not at all; a cache that cannot be written costs a warning only."""
    try:
        write_file(path, json.dumps(dict(ranges), indent=1).encode())
    except InputError as error:
        warn(f"the calibration is not kept: {error}")
