"""Cosine similarity of face embeddings: does the SR face show the same person? The network is the user's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from fsr_deploy.errors import InputError, MissingError
from fsr_deploy.models.measures import Measure
from fsr_deploy.opencv import cv2
from fsr_deploy.resize import Face

EMBEDDING = "w600k_r50.onnx"  # InsightFace's ArcFace; any other under this name that takes the same input
FILES = (EMBEDDING,)
SIDE = 112


def load_identity(folder: Path, device: torch.device) -> Measure:
    """Return the measure; the network takes (N, 3, 112, 112) RGB in [-1, 1] and gives one vector for each face.

    Raises MissingError without ONNX Runtime, InputError for another network.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingError("the package onnxruntime (pip install 'fsr-deploy[cpu]')") from error
    path = folder / EMBEDDING
    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
    except Exception as error:  # ONNX Runtime raises classes of its own, without a common base
        raise InputError(f"{path}: cannot be loaded: {error}") from error

    def embed(face: Face) -> NDArray[np.float64]:
        small = cv2.resize(np.ascontiguousarray(face), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        batch = (small.astype(np.float32) / 127.5 - 1).transpose(2, 0, 1)[None]
        vector = np.ravel(session.run(None, {name: batch})[0]).astype(np.float64)
        return vector / np.linalg.norm(vector)

    def compute(sr: Sequence[Face], hr: Sequence[Face]) -> float:
        return float(np.mean([embed(a) @ embed(b) for a, b in zip(sr, hr, strict=True)]))

    return Measure("identity cosine", True, compute)
