"""The quality of a network: PSNR and SSIM on held-out faces, and a picture of some of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from fsr_deploy.images.resize import Face, lr_face, resize
from fsr_deploy.metrics.pixel import basic_measures
from fsr_deploy.models.eager import Eager


@dataclass(frozen=True)
class Score:
    """Mean PSNR in dB and mean SSIM over faces, both on Y."""

    psnr: float
    ssim: float


def score(sr: Sequence[Face], hr: Sequence[Face]) -> Score:
    """Compare SR faces with HR faces, each (S, S, 3) uint8 RGB."""
    on_y = basic_measures()[:2]
    return Score(*(measure.compute(sr, hr) for measure in on_y))


def upscale(network: nn.Module, lr: Sequence[Face], size: int, device: torch.device) -> list[Face]:
    """Upscale LR faces to ``size`` with a copy of a network, in evaluation mode on ``device``."""
    return Eager(network, size // len(lr[0]), device).upscale(lr)


def sample_grid(hr: Sequence[Face], sr: Sequence[Face], lr_size: int) -> Face:
    """Return a picture with a row for each face: LR | bicubic | SR | HR."""
    rows = []
    for truth, face in zip(hr, sr, strict=True):
        lr = lr_face(truth, (lr_size, lr_size))
        blocks = truth.shape[0] // lr_size
        large = lr.repeat(blocks, 0).repeat(blocks, 1)
        rows.append(np.concatenate((large, resize(lr, truth.shape[:2]), face, truth), axis=1))
    return np.concatenate(rows)
