"""Closeness of SR faces to HR faces, as the papers measure it: on Y (MATLAB's BT.601, 8 bit) and on RGB."""

from __future__ import annotations

import torch
from torch import Tensor


def luma(faces: Tensor) -> Tensor:
    """Return MATLAB's rgb2ycbcr Y, (N, 1, H, W) float64 in [16, 235], of (N, 3, H, W) uint8 RGB."""
    weights = torch.tensor((65.481, 128.553, 24.966), dtype=torch.float64, device=faces.device).view(1, 3, 1, 1)
    return ((faces.double() * weights).sum(1, keepdim=True) / 255 + 16).round()


def psnr(a: Tensor, b: Tensor) -> Tensor:
    """Return the PSNR in dB of each image, (N,), of two (N, C, H, W) in [0, 255]; infinite where they are equal."""
    return 10 * torch.log10(255**2 / (a.double() - b.double()).square().mean((1, 2, 3)))


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Return the SSIM of each image, (N,), of two (N, C, H, W) in [0, 255], at least 11x11.

    Wang et al. 2004: Gaussian window of 11x11, sigma 1.5, the mean of the positions where it fits, and of channels.
    """
    from torchmetrics.functional.image import structural_similarity_index_measure

    values = structural_similarity_index_measure(
        a.double(), b.double(), data_range=255.0, sigma=1.5, kernel_size=11, reduction="none"
    )
    assert isinstance(values, Tensor)
    return values
