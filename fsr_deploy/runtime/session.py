"""The one interface that every engine offers: a batch of LR faces in, a batch of SR faces out."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

OPENVINO = "openvino:"  # what the names of OpenVINO's devices begin with
Batch = NDArray[np.uint8]


@dataclass(frozen=True)
class EngineInfo:
    """What a session runs: for messages, batch sizes and the journal.

    ``device`` is "cpu", "cuda:N" or "openvino:NAME", or several of these with commas between them.
    ``lr_shape`` and ``sr_shape`` are (height, width) of one LR and one SR face in pixels. ``max_batch`` is the largest
    batch the engine accepts, None where it has no limit. ``best_batch`` is the batch size at which it is fastest per
    face. ``notes`` are sentences from its bundle for the user. ``resizable`` says whether its network can be exported
    for LR faces of another size, None where that is unknown. ``template`` is the bundle's: where five landmarks lie in
    the faces that it was trained with, None where that is unknown.
    """

    engine: str
    device: str
    precision: str
    sha256: str
    lr_shape: tuple[int, int]
    sr_shape: tuple[int, int]
    best_batch: int
    max_batch: int | None = None
    trained: bool | None = None
    notes: tuple[str, ...] = ()
    resizable: bool | None = None
    template: tuple[tuple[float, float], ...] | None = None


def engine_kind(engine: str) -> str:
    """Return the name of an engine without its version: those of one kind share what was proven of one of them.

    "TensorRT", "ONNX Runtime", or "OpenVINO (CPU, FP32)", which computes in another precision than "(CPU, BF16)".
    """
    for title in ("TensorRT", "ONNX Runtime"):
        if engine.startswith(title):
            return title
    title, _, rest = engine.partition(" ")
    return f"{title} {rest.partition(' ')[2]}"


def device_kind(device: str) -> str:
    """Return the kind of a session's device or devices: "cpu", "cuda" or "openvino"; devices of one kind are alike."""
    return re.split("[:,]", device, maxsplit=1)[0]


class OutOfMemory(Exception):
    """The device has no room for this batch; a smaller one may fit."""


class Session(Protocol):
    """An engine loaded on a device."""

    @property
    def info(self) -> EngineInfo:
        """Facts about the loaded engine."""
        ...

    @property
    def in_flight(self) -> int:
        """How many batches should run at the same time: call ``upscale`` from so many threads."""
        ...

    def upscale(self, batch: Batch) -> Batch:
        """Turn (N, h, w, 3) uint8 RGB LR faces into (N, H, W, 3) uint8 RGB SR faces.

        Raises InputError where the batch's shape or dtype is not the engine's, OutOfMemory where it does not fit.
        """
        ...

    def close(self) -> None:
        """Free what the engine holds on its device; the session cannot be used afterwards."""
        ...
