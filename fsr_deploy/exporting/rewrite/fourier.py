"""Fourier transforms of small patches (FFTformer, arXiv 2211.12250) as products with matrices.

Engines for GPUs have no transform, and the exporter none that it can undo. One of 8x8 values is linear and small, so it
is a matrix that is found by transforming unit vectors. The modules are told by their names and attributes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def patch_filter(module: Any) -> nn.Module | None:
    """Replace FFTformer's feed-forward part, which weighs the frequencies of each patch, by PatchFilter."""
    wanted = ("project_in", "dwconv", "fft", "project_out", "patch_size")
    if type(module).__name__ != "DFFN" or not all(hasattr(module, name) for name in wanted):
        return None
    side = module.patch_size
    return PatchFilter(module) if tuple(module.fft.shape[1:]) == (1, 1, side, side // 2 + 1) else None


def patch_correlation(module: Any) -> nn.Module | None:
    """Replace FFTformer's attention, which multiplies the frequencies of patches, by PatchCorrelation."""
    wanted = ("to_hidden", "to_hidden_dw", "project_out", "norm", "patch_size")
    known = type(module).__name__ == "FSAS" and all(hasattr(module, name) for name in wanted)
    return PatchCorrelation(module) if known else None


class PatchFilter(nn.Module):
    """A feed-forward part whose channels weigh the frequencies of each patch: (N, c, h, w) to the same."""

    matrices: Tensor

    def __init__(self, old: Any) -> None:
        super().__init__()
        self.project_in, self.dwconv, self.project_out = old.project_in, old.dwconv, old.project_out
        self.side = side = old.patch_size
        weights = old.fft.detach().view(-1, 1, side, side // 2 + 1)
        units = torch.eye(side * side).view(1, -1, side, side)
        filtered = torch.fft.irfft2(torch.fft.rfft2(units) * weights, s=(side, side))
        # What each of a patch's values adds to each of its filtered values: (c, values, values).
        self.register_buffer("matrices", filtered.flatten(2))

    def forward(self, x: Tensor) -> Tensor:
        """Return the filtered features."""
        x = self.project_in(x)
        n, c, h, w = x.shape
        rows = patches(x, self.side).permute(1, 0, 2, 3).reshape(c, -1, self.side**2)
        rows = (rows @ self.matrices).reshape(c, n, -1, self.side**2).permute(1, 0, 2, 3)
        first, second = self.dwconv(whole(rows, self.side, h, w)).chunk(2, 1)
        y: Tensor = self.project_out(F.gelu(first) * second)
        return y


class PatchCorrelation(nn.Module):
    """Attention by the products of the frequencies of queries and keys in each patch: (N, c, h, w) to the same."""

    forth: Tensor
    back: Tensor

    def __init__(self, old: Any) -> None:
        super().__init__()
        self.to_hidden, self.to_hidden_dw = old.to_hidden, old.to_hidden_dw
        self.project_out, self.norm = old.project_out, old.norm
        self.side = side = old.patch_size
        spectrum = torch.fft.rfft2(torch.eye(side * side).view(-1, side, side)).flatten(1)
        self.register_buffer("forth", torch.cat([spectrum.real, spectrum.imag], 1))
        count = spectrum.shape[1]
        units = torch.eye(count).view(count, side, -1)
        parts = [torch.fft.irfft2(units * factor, s=(side, side)).flatten(1) for factor in (1.0, 1.0j)]
        self.register_buffer("back", torch.cat(parts))

    def forward(self, x: Tensor) -> Tensor:
        """Return the attended features."""
        q, k, v = self.to_hidden_dw(self.to_hidden(x)).chunk(3, 1)
        q_real, q_imaginary = (patches(q, self.side) @ self.forth).chunk(2, -1)
        k_real, k_imaginary = (patches(k, self.side) @ self.forth).chunk(2, -1)
        product = [q_real * k_real - q_imaginary * k_imaginary, q_real * k_imaginary + q_imaginary * k_real]
        y = whole(torch.cat(product, -1) @ self.back, self.side, *q.shape[2:])
        projected: Tensor = self.project_out(v * self.norm(y))
        return projected


def patches(x: Tensor, side: int) -> Tensor:
    """Return the patches of (N, c, h, w) as rows, (N, c, patches, side * side)."""
    c, h, w = x.shape[1:]
    return x.reshape(-1, c, h // side, side, w // side, side).transpose(3, 4).reshape(-1, c, h * w // side**2, side**2)


def whole(rows: Tensor, side: int, h: int, w: int) -> Tensor:
    """Return the picture, (N, c, h, w), whose patches the rows are."""
    c = rows.shape[1]
    return rows.reshape(-1, c, h // side, w // side, side, side).transpose(3, 4).reshape(-1, c, h, w)
