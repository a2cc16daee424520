"""OpenVINO behind the Session protocol: a graph on the CPU, to compare with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from fsr_deploy._util import imports
from fsr_deploy.bundle.engine_file import read_engine_file
from fsr_deploy.errors import InputError
from fsr_deploy.runtime.session import Batch, EngineInfo

# By default OpenVINO computes an FP32 graph in BF16 where the CPU can: faster, but several levels off.
SETTINGS = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}


class OpenVinoSession:
    """A ``model.onnx`` with uint8 faces in and out, compiled by OpenVINO for this CPU; FP32 stays FP32.

    Raises MissingError where OpenVINO is not installed and InputError for a graph that it does not take.
    """

    def __init__(self, path: Path) -> None:
        openvino = imports.load("openvino")
        file = read_engine_file(path)
        try:
            core = openvino.Core()
            self._model = core.compile_model(core.read_model(file.content), "CPU", SETTINGS)
        except RuntimeError as error:
            raise InputError(f"{path}: OpenVINO {openvino.__version__} refuses it: {error}") from error
        self.info = EngineInfo(
            engine=f"OpenVINO {openvino.__version__}",
            device="cpu",
            precision=file.bundle.precision if file.bundle else "unknown",
            sha256=file.sha256,
            lr_shape=_face_shape(self._model.inputs[0]),
            sr_shape=_face_shape(self._model.outputs[0]),
            best_batch=file.bundle.batches[1] if file.bundle else 1,
            trained=file.bundle.trained if file.bundle else None,
        )

    @property
    def in_flight(self) -> int:
        """One, because a run uses all cores."""
        return 1

    def upscale(self, batch: Batch) -> Batch:
        """Turn (N, h, w, 3) uint8 RGB LR faces into (N, H, W, 3) uint8 RGB SR faces."""
        expected = (*self.info.lr_shape, 3)
        if batch.dtype != np.uint8 or batch.ndim != 4 or batch.shape[1:] != expected:
            raise InputError(f"a batch of {batch.dtype} {batch.shape}; this engine takes uint8 (N, {expected})")
        return self._model([np.ascontiguousarray(batch)])[0].copy()  # OpenVINO returns its own buffer

    def close(self) -> None:
        """Free the model; the session cannot be used afterwards."""
        del self._model


def _face_shape(port: Any) -> tuple[int, int]:
    height, width = (port.partial_shape[axis].get_length() for axis in (1, 2))
    return height, width
