"""Ranges of activations: the float graph is run over faces, and a histogram kept of each tensor that is quantised."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper

from fsr_deploy._util.sizes import Size, as_shape, enlarged
from fsr_deploy.errors import InputError
from fsr_deploy.exporting.graph.deployable import Io
from fsr_deploy.exporting.graph.onnx_writer import module_of_node
from fsr_deploy.exporting.graph.sessions import open_graph
from fsr_deploy.exporting.proof.reference import pictures_of
from fsr_deploy.images.codec import read_frame
from fsr_deploy.images.resize import lr_face
from fsr_deploy.models.eager import network_input
from fsr_deploy.synthetic import draw_face

BINS = 2048
SAMPLES = 1 << 16  # values of a tensor and a face that enter its histogram; the largest is taken of all
MEMORY = 256 << 20  # bytes of observed tensors held at a time
MAX_BATCH = 8


@dataclass
class Histogram:
    """How often magnitudes occur: ``counts`` of BINS equal bins over [0, ``limit``]; ``largest`` is the maximum."""

    limit: float = 0.0
    largest: float = 0.0
    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(BINS, np.int64))

    def add(self, values: NDArray[np.float32]) -> None:
        """Take in values of any shape, a regular sample of them where there are many."""
        magnitudes = np.abs(values.reshape(-1))
        largest = float(magnitudes.max(initial=0.0))
        self.largest = max(self.largest, largest)
        if self.limit == 0:
            self.limit = largest
        while 0 < self.limit < largest:
            self.counts[: BINS // 2] = self.counts.reshape(-1, 2).sum(axis=1)
            self.counts[BINS // 2 :] = 0
            self.limit *= 2
        if self.limit > 0:
            sample = magnitudes[:: 1 + len(magnitudes) // SAMPLES]
            shares = sample.astype(np.float64) / self.limit  # in float32 a denormal limit has no reciprocal
            bins = np.minimum(shares * BINS, BINS - 1).astype(np.int64)
            self.counts += np.bincount(bins, minlength=BINS)


def observe(
    model: ModelProto,
    tensors: Sequence[str],
    faces: Sequence[tuple[str, NDArray[Any]]],
    advance: Callable[[int], None] = lambda count: None,
) -> dict[str, Histogram]:
    """Run a float graph over calibration faces and return the histogram of each tensor.

    ``faces`` are (name, input of the graph without its batch axis). Raises InputError that names the tensor's module
    and the face where a value is NaN or infinite.
    """
    histograms = {name: Histogram() for name in tensors}
    session = _observed(model, tensors)
    entry = session.get_inputs()[0].name
    start, size = 0, 1
    while start < len(faces):
        chunk = faces[start : start + size]
        results = session.run(list(tensors), {entry: np.stack([face for _, face in chunk])})
        for name, values in zip(tensors, results, strict=True):
            for (title, _), face_values in zip(chunk, values, strict=True):
                _refuse_infinite(name, title, face_values)
                histograms[name].add(face_values)
        advance(len(chunk))
        start += len(chunk)
        size = max(1, min(MAX_BATCH, MEMORY // max(1, sum(values[0].nbytes for values in results))))
    return histograms


def _observed(model: ModelProto, tensors: Sequence[str]) -> onnxruntime.InferenceSession:
    """Return a session of the graph that gives the tensors too."""
    observed = ModelProto()
    observed.CopyFrom(model)
    given = {value.name for value in observed.graph.output}
    observed.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in tensors if name not in given
    )
    return open_graph(observed)


def _refuse_infinite(tensor: str, face: str, values: NDArray[np.float32]) -> None:
    if not np.isfinite(values).all():
        raise InputError(
            f"{face}: NaN or infinite values in {module_of_node(tensor) or tensor} while calibrating; "
            "the weights or this image are damaged"
        )


SEED = 417  # of the drawn faces; neither those that networks are trained on nor those that engines are proven with


def calibration_faces(
    folder: Path | None, count: int, lr_size: Size, scale: int, upsampling: int, io: Io
) -> list[tuple[str, NDArray[Any]]]:
    """Return up to ``count`` named inputs of a graph, without a batch axis: of a folder, or else drawn faces.

    (h, w, 3) uint8 RGB LR faces, or with float ``io`` (3, H, W) float32 RGB in [-1, 1]. Raises InputError for a folder
    without images, and for an image that cannot be read.
    """
    height, width = as_shape(lr_size)
    large = enlarged(lr_size, scale)
    if folder:
        named = [(str(path), read_frame(path)) for path in pictures_of(folder)[:count]]
    else:
        named = [(f"drawn face {index}", draw_face((SEED, index), large)) for index in range(count)]
    faces = [(name, lr_face(face, (height, width))) for name, face in named]
    return (
        faces if io == "uint8" else [(name, network_input(face[None], upsampling).numpy()[0]) for name, face in faces]
    )
