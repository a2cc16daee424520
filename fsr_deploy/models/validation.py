"""How good a network is: PSNR and SSIM on held-out faces next to bicubic, and a picture of some."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from fsr_deploy.models.degradation import Face, resize, to_faces, to_pair
from fsr_deploy.models.measures import basic_measures

BATCH = 8


@dataclass(frozen=True)
class Score:
    """Mean PSNR in dB and mean SSIM over faces, both on Y."""

    psnr: float
    ssim: float


def score(sr: Sequence[Face], hr: Sequence[Face]) -> Score:
    """Compare SR faces with HR faces, each (S, S, 3) uint8 RGB."""
    on_y = basic_measures()[:2]
    return Score(*(measure.compute(sr, hr) for measure in on_y))


def bicubic(faces: Sequence[Face], lr_size: int) -> list[Face]:
    """Shrink HR faces to ``lr_size`` and bring them back, both by bicubic: what every network is measured against."""
    return [resize(resize(face, lr_size), face.shape[0]) for face in faces]


@torch.inference_mode()
def upscale(network: nn.Module, faces: Sequence[Face], lr_size: int, device: torch.device) -> list[Face]:
    """Shrink HR faces to ``lr_size`` and let a network, on ``device``, bring them back to their size."""
    training = network.training
    network.eval()
    results: list[Face] = []
    for start in range(0, len(faces), BATCH):
        x = torch.stack([to_pair(face, lr_size)[0] for face in faces[start : start + BATCH]])
        sr = to_faces(network(x.to(device)))
        results += list(sr.permute(0, 2, 3, 1).cpu().numpy())
    network.train(training)
    return results


def sample_grid(hr: Sequence[Face], sr: Sequence[Face], lr_size: int) -> Face:
    """Return a picture with a row for each face: LR | bicubic | SR | HR."""
    rows = []
    for truth, face, smooth in zip(hr, sr, bicubic(hr, lr_size), strict=True):
        blocks = truth.shape[0] // lr_size
        lr = resize(truth, lr_size).repeat(blocks, 0).repeat(blocks, 1)
        rows.append(np.concatenate((lr, smooth, face, truth), axis=1))
    return np.concatenate(rows)
