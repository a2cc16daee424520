"""The one interface that every engine offers: a batch of LR faces in, a batch of SR faces out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Batch = NDArray[np.uint8]


@dataclass(frozen=True)
class EngineInfo:
    """What a session runs: enough to print, to size batches and to key a journal.

    ``lr_shape`` and ``sr_shape`` are (height, width) of one LR and one SR face in pixels.
    ``max_batch`` is the largest batch the engine accepts, None where it has no limit.
    ``best_batch`` is the batch size at which it is fastest per face. ``notes`` are sentences from its bundle that
    whoever runs it should read. ``resizable`` tells whether its network can be exported for LR faces of another size,
    None where nobody knows.
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
        """How many batches are best on their way at once: so many threads may call ``upscale`` at a time."""
        ...

    def upscale(self, batch: Batch) -> Batch:
        """Turn (N, h, w, 3) uint8 RGB LR faces into (N, H, W, 3) uint8 RGB SR faces.

        Raises InputError where the batch's shape or dtype is not the engine's, OutOfMemory where it does not fit.
        """
        ...

    def close(self) -> None:
        """Free what the engine holds on its device; the session cannot be used afterwards."""
        ...
