"""A network in PyTorch, unmodified: the reference for engines, and what evaluation runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fsr_deploy.images.levels import as_faces
from fsr_deploy.images.resize import Face, resize
from fsr_deploy.models.sameness import copied
from fsr_deploy.models.tensors import to_tensor

CHUNK = 8


class Eager:
    """A trained network in FP32, run by PyTorch, with the preprocessing of its training.

    The network takes LR faces enlarged ``upsampling`` times by bicubic; 1 means unchanged. ``run`` takes and gives what
    an engine does, so that in-graph preprocessing is part of what is compared. It runs a copy: the network that is
    given stays where and as it is.
    """

    def __init__(self, network: nn.Module, upsampling: int, device: str | torch.device = "cpu") -> None:
        self.network = copied(network).eval().to(device)
        self.upsampling = upsampling
        self.device = device

    @torch.inference_mode()
    def run(self, batch: NDArray[Any]) -> NDArray[Any]:
        """Turn (N, h, w, 3) uint8 RGB LR faces into (N, H, W, 3) uint8 RGB SR faces.

        Of an engine with float input and output: (N, 3, H, W) float32 RGB in [-1, 1] to the same.
        """
        if batch.dtype != np.uint8:
            return self._run(torch.from_numpy(batch)).numpy()
        return as_faces(self._run(network_input(batch, self.upsampling)).numpy())

    def _run(self, batch: Tensor) -> Tensor:
        """Return what the network makes of a batch, face by face where its code takes one alone."""
        batch = batch.to(self.device)
        try:
            sr: Tensor = self.network(batch)
        except RuntimeError:
            if len(batch) == 1:
                raise
            sr = torch.cat([self.network(face) for face in batch.split(1)])
        return sr.cpu()

    def upscale(self, faces: Sequence[Face]) -> list[Face]:
        """Turn LR faces, each (h, w, 3) uint8 RGB, into SR faces (H, W, 3), a few at a time."""
        starts = range(0, len(faces), CHUNK)
        return [sr for start in starts for sr in self.run(np.stack(faces[start : start + CHUNK]))]


def network_input(lr: NDArray[np.uint8], upsampling: int) -> Tensor:
    """Return what a network takes of (N, h, w, 3) uint8 RGB: so many times as large, by PIL's bicubic.

    (N, 3, H, W) float32 RGB in [-1, 1].
    """
    return torch.stack([to_tensor(resize(face, (upsampling * len(face), upsampling * len(face[0])))) for face in lr])
