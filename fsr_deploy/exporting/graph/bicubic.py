"""Bicubic upsampling as Pillow does it, as two constant matrix products that every engine runs the same way.

Pillow's ``Image.resize(..., BICUBIC)`` on 8-bit images (``Resample.c``): Keys' cubic kernel with a = -0.5, cut at the
border and renormalised, weights in fixed point with 22 fractional bits, the horizontal pass first, and after each of
the two passes rounding half up and clipping to 8 bit.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from fsr_deploy._util.sizes import Size, as_shape

SUPPORT = 2.0
A = -0.5
FRACTION_BITS = 22


def cubic(x: float) -> float:
    """Keys' cubic convolution kernel with a = -0.5 at a distance of ``x`` source pixels."""
    x = abs(x)
    if x < 1.0:
        return ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    if x < 2.0:
        return (((x - 5.0) * x + 8.0) * x - 4.0) * A
    return 0.0


def weights(size: int, scale: int) -> Tensor:
    """Return the (size * scale, size) float32 matrix that upsamples one axis of ``size`` pixels ``scale`` times.

    Each weight is a multiple of 2**-22, as in Pillow, which float32 holds exactly.
    """
    matrix = torch.zeros(size * scale, size, dtype=torch.float64)
    for row in range(size * scale):
        centre = (row + 0.5) / scale
        first = max(0, int(centre - SUPPORT + 0.5))
        last = min(size, int(centre + SUPPORT + 0.5))
        taps = [cubic(tap - centre + 0.5) for tap in range(first, last)]
        for tap, weight in zip(range(first, last), taps, strict=True):
            matrix[row, tap] = math.floor(weight / sum(taps) * 2**FRACTION_BITS + 0.5) / 2**FRACTION_BITS
    return matrix.float()


class Bicubic(nn.Module):
    """Upsample LR faces as Pillow does.

    Maps (N, 3, h, w) float32 in levels (0, 1 .. 255) to (N, 3, h * scale, w * scale) float32, whole levels too. Away
    from the border the products and sums are exact in float32, so the result is Pillow's to the bit; near it a sum
    within 2e-5 of a half level may round the other way.
    """

    horizontal: Tensor
    vertical: Tensor

    def __init__(self, size: Size, scale: int = 8) -> None:
        super().__init__()
        height, width = as_shape(size)
        self.register_buffer("horizontal", weights(width, scale).t().contiguous())
        self.register_buffer("vertical", weights(height, scale))

    def forward(self, levels: Tensor) -> Tensor:
        """Return the upsampled levels; see the class."""
        rows = _to_levels(torch.matmul(levels, self.horizontal))
        return _to_levels(torch.matmul(self.vertical, rows))


def _to_levels(x: Tensor) -> Tensor:
    """Round half up (``torch.round`` and ONNX ``Round`` go to the even neighbour) and clip to 8 bit."""
    return torch.floor(x + 0.5).clamp(0.0, 255.0)
