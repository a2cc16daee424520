"""Cosine similarity of face embeddings: does the SR face show the same person? The network is the user's.

ArcFace was trained on faces that landmarks had turned and moved to one place of its 112x112 input. Here no landmarks
are looked for: the whole face image is reduced to that size, for SR and HR alike. So a value tells which of two systems
keeps the person better on the same faces; it is not the cosine that a recognition system gets from aligned faces, and
its thresholds ("the same person above 0.3") do not hold.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from fsr_deploy._util import imports
from fsr_deploy.bundle.engine_file import read_engine_file
from fsr_deploy.errors import InputError
from fsr_deploy.images.opencv import cv2
from fsr_deploy.images.resize import Face
from fsr_deploy.metrics.pixel import Mean, Measure
from fsr_deploy.runtime.backends.onnxruntime import session_options

EMBEDDING = "w600k_r50.onnx"  # InsightFace's ArcFace, or another network under this name with the same input
FILES = (EMBEDDING,)
SIDE = 112


def load_identity(folder: Path, device: torch.device) -> Measure:
    """Return the measure; the network takes (N, 3, 112, 112) RGB in [-1, 1] and gives one vector for each face.

    Raises MissingError without ONNX Runtime, InputError for another network.
    """
    onnxruntime = imports.load("onnxruntime")
    path = folder / EMBEDDING
    graph = read_engine_file(path).content
    try:
        session = onnxruntime.InferenceSession(graph, session_options(onnxruntime), providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
    except Exception as error:  # ONNX Runtime raises classes of its own, without a common base
        raise InputError(f"{path}: cannot be loaded: {error}") from error

    def embed(face: Face) -> NDArray[np.float64]:
        small = cv2.resize(np.ascontiguousarray(face), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        batch = (small.astype(np.float32) / 127.5 - 1).transpose(2, 0, 1)[None]
        vector = np.ravel(session.run(None, {name: batch})[0]).astype(np.float64)
        return vector / np.linalg.norm(vector)

    return Measure("identity cosine", True, lambda: Mean(lambda sr, hr: float(embed(sr) @ embed(hr))))
