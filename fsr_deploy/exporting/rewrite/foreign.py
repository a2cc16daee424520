"""Exact rewrites of modules that other people's networks share, in a form that takes any batch.

The classes are told by their names and attributes, because the libraries that hold them need not be installed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# The methods of a codebook that Codebook has; "dist" is called by its own forward alone.
OF_A_CODEBOOK = {"forward", "get_codebook_feat", "get_codebook_entry", "dist"}


def modulated(module: Any) -> nn.Module | None:
    """Replace StyleGAN2's modulated convolution, whose kernels are each face's own, by Modulated."""
    wanted = ("modulation", "demodulate", "sample_mode", "eps", "padding", "weight")
    if type(module).__name__ != "ModulatedConv2d" or not all(hasattr(module, name) for name in wanted):
        return None
    return Modulated(module)


class Modulated(nn.Module):
    """A convolution whose input channels each face scales by its own style (StyleGAN2, arXiv 1912.04958, eqs 1 and 3).

    Scaling the kernel and scaling the input are the same, and one kernel serves all faces: (N, c, h, w) and the style
    (N, s) to (N, d, h, w), h and w twice as large where it enlarges.
    """

    energy: Tensor | None

    def __init__(self, old: Any) -> None:
        super().__init__()
        self.modulation = old.modulation
        self.eps, self.padding, self.sample_mode = old.eps, old.padding, old.sample_mode
        self.weight = nn.Parameter(old.weight.detach().squeeze(0).clone(), requires_grad=False)
        # How much each input channel adds to the square of each output channel's norm.
        self.register_buffer("energy", self.weight.pow(2).sum((2, 3)) if old.demodulate else None)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """Return the convolution of a batch with its styles."""
        scale = self.modulation(style)
        if self.sample_mode is not None:
            factor = 2.0 if self.sample_mode == "upsample" else 0.5
            x = F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)
        y = F.conv2d(x * scale[:, :, None, None], self.weight, padding=self.padding)
        if self.energy is None:
            return y
        return y * torch.rsqrt(F.linear(scale.pow(2), self.energy) + self.eps)[:, :, None, None]


def codebook(module: Any) -> nn.Module | None:
    """Replace a quantiser to the nearest vector of a codebook, which multiplies by one-hot rows, by Codebook."""
    if type(module).__name__ != "VectorQuantizer" or not isinstance(getattr(module, "embedding", None), nn.Embedding):
        return None
    if not {name for name in vars(type(module)) if not name.startswith("_")} <= OF_A_CODEBOOK:
        return None
    with torch.no_grad():
        results = module(module.embedding.weight.new_zeros(1, module.embedding.embedding_dim, 1, 1))
    return Codebook(module.embedding, alone=isinstance(results, Tensor))


class Codebook(nn.Module):
    """The nearest vector of a codebook for each position: (N, c, h, w) to the same, with the quantiser's other results.

    The loss and the statistics of training are zero; ``alone`` is for quantisers that return the vectors without them.
    """

    squares: Tensor
    fp32_reason = "the nearest of many vectors is another one after rounding"

    def __init__(self, embedding: nn.Embedding, *, alone: bool = False) -> None:
        super().__init__()
        self.embedding, self.alone = embedding, alone
        self.register_buffer("squares", embedding.weight.detach().pow(2).sum(1))

    def forward(self, z: Tensor) -> Tensor | tuple[Tensor, Tensor, tuple[None, None, Tensor]]:
        """Return the quantised features, no loss, and which vectors they are."""
        rows = z.permute(0, 2, 3, 1)
        distances = rows.pow(2).sum(3, keepdim=True) + self.squares - 2 * F.linear(rows, self.embedding.weight)
        nearest = distances.argmin(3)
        vectors = self.embedding(nearest).permute(0, 3, 1, 2)
        return vectors if self.alone else (vectors, z.new_zeros(()), (None, None, nearest))

    def get_codebook_feat(self, indices: Tensor, shape: Sequence[int] | None) -> Tensor:
        """Return the vectors that a network has chosen itself, (N, c, h, w) where ``shape`` is (N, h, w, c)."""
        vectors: Tensor = self.embedding(indices.reshape(-1))
        return vectors if shape is None else vectors.reshape(shape).permute(0, 3, 1, 2)

    get_codebook_entry = get_codebook_feat


def merged(module: Any) -> nn.Module | None:
    """Replace SPAN's convolution, which merges its three and its skip anew in every run, by the merged one."""
    if type(module).__name__ != "Conv3XC" or not isinstance(getattr(module, "eval_conv", None), nn.Conv2d):
        return None
    module.eval()
    with torch.no_grad():
        module.update_params()
    merged = nn.Sequential(module.eval_conv)
    if module.has_relu:
        merged.append(nn.LeakyReLU(0.05))
    return merged
