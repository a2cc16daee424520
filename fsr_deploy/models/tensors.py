"""What the networks see of a face: tensors made of uint8 pixels and back, and pairs to train on."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from fsr_deploy.images.resize import Face, resize


def to_pair(face: Face, lr_size: int) -> tuple[Tensor, Tensor]:
    """Return a network's input and its target for a square HR face, (S, S, 3) uint8 RGB.

    Both are (3, S, S) float32 RGB in [-1, 1]: the LR face of ``lr_size`` brought back to S by bicubic, and the face.
    """
    return to_tensor(resize(resize(face, (lr_size, lr_size)), face.shape[:2])), to_tensor(face)


def to_tensor(face: Face) -> Tensor:
    """Turn an (H, W, 3) uint8 RGB face into (3, H, W) float32 in [-1, 1]."""
    return torch.from_numpy(face.astype(np.float32) / 127.5 - 1).permute(2, 0, 1).contiguous()


def to_faces(batch: Tensor) -> Tensor:
    """Turn (N, 3, H, W) floats in [-1, 1] into (N, 3, H, W) uint8 RGB, rounded and clipped."""
    return ((batch.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def to_batch(face: Face) -> Tensor:
    """Return an (H, W, 3) uint8 face as (1, 3, H, W) uint8."""
    return torch.from_numpy(np.array(face)).permute(2, 0, 1)[None]
