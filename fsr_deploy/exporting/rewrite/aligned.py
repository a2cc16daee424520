"""Bilinear enlargement whose corner pixels stay in the corners, of which engines make different things."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from fsr_deploy.models.sameness import computes_as


def aligned(module: nn.Module) -> nn.Module | None:
    """Replace nn.Upsample (or nn.UpsamplingBilinear2d) with ``align_corners`` by Aligned."""
    if not isinstance(module, nn.Upsample) or not computes_as(module, nn.Upsample):
        return None
    return Aligned(module) if module.mode == "bilinear" and module.align_corners else None


class Aligned(nn.Module):
    """A product with a matrix for each side: (N, c, h, w) to the size, or so many times as large."""

    def __init__(self, old: nn.Upsample) -> None:
        super().__init__()
        self.size, self.factor = old.size, old.scale_factor

    def forward(self, x: Tensor) -> Tensor:
        """Return the picture in its new size."""
        old = tuple(x.shape[2:])
        sizes = self.size if isinstance(self.size, tuple) else (self.size,) * 2
        factors = self.factor if isinstance(self.factor, tuple) else (self.factor,) * 2
        new = tuple(
            int(size) if size is not None else int(side * (factor or 1.0))
            for side, size, factor in zip(old, sizes, factors, strict=True)
        )
        rows, columns = (torch.from_numpy(_weights(*sides)).to(x) for sides in zip(old, new, strict=True))
        return rows @ x @ columns.T


def _weights(old: int, new: int) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """Return how much of each old pixel is in each new one, (new, old)."""
    places = np.linspace(0, old - 1, new) if new > 1 else np.zeros(1)
    return np.maximum(0, 1 - np.abs(places[:, None] - np.arange(old))).astype(np.float32)
