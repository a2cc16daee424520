"""Attention in windows (Swin Transformer, arXiv 2103.14030), and what stands around it, for ONNX Runtime on a CPU.

It is told by its name and attributes, because the libraries that hold it need not be installed.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fsr_deploy.models.sameness import computes_as

ATTRIBUTES = ("qkv", "proj", "relative_position_bias_table", "relative_position_index", "window_size", "num_heads")
MOST = 2**20  # values of a mask and a bias in one, 4 MiB for each block, which the engine holds


def window_attention(module: Any) -> nn.Module | None:
    """Replace the attention of SwinIR's windows by WindowAttention."""
    if type(module).__name__ != "WindowAttention" or not all(hasattr(module, name) for name in (*ATTRIBUTES, "scale")):
        return None
    table, heads, width = module.relative_position_bias_table, module.num_heads, module.proj.in_features
    plain = isinstance(module.scale, float) and isinstance(module.qkv, nn.Linear) and table.dim() == 2
    other = {name for name, _ in module.named_parameters()} - {"relative_position_bias_table"}
    known = all(name.startswith(("qkv.", "proj.")) for name in other)
    if not plain or not known or module.qkv.out_features != 3 * width or table.shape[1] != heads:
        return None
    return WindowAttention(module)


class WindowAttention(nn.Module):
    """Attention of the n positions of a window to each other, (N windows, n, w) to the same; masks are (windows, n, n).

    Queries, keys and values come from layers of their own instead of three copies of one result. Mask and bias are one
    constant where that is small, added once: a pass over the attention, the largest tensor here, less.
    """

    bias: Tensor

    def __init__(self, old: Any) -> None:
        super().__init__()
        self.heads = old.num_heads
        self.parts = nn.ModuleList(_thirds(old.qkv, old.scale))
        self.proj = old.proj
        n = old.window_size[0] * old.window_size[1]
        bias = old.relative_position_bias_table.detach()[old.relative_position_index.flatten()]
        self.register_buffer("bias", bias.view(n, n, -1).permute(2, 0, 1).contiguous())

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the attended windows; ``mask`` is added to those of each picture."""
        n, width = x.shape[1:]
        q, k, v = (part(x).reshape(-1, n, self.heads, width // self.heads) for part in self.parts)
        logits = q.transpose(1, 2) @ k.permute(0, 2, 3, 1)
        one = mask is not None and mask.numel() * self.heads <= MOST
        if not one:
            logits = logits + self.bias
        if mask is not None:
            constant = mask[:, None] + self.bias if one else mask[:, None]
            logits = logits.reshape(-1, len(mask), self.heads, n, n) + constant
            logits = logits.reshape(-1, self.heads, n, n)
        y = logits.softmax(-1) @ v.transpose(1, 2)
        projected: Tensor = self.proj(y.transpose(1, 2).reshape(-1, n, width))
        return projected


def _thirds(layer: nn.Linear, scale: float) -> list[nn.Linear]:
    """Return the layers of queries, times ``scale``, keys and values."""
    thirds = []
    for at, factor in enumerate((scale, 1.0, 1.0)):
        part = nn.Linear(layer.in_features, layer.out_features // 3, layer.bias is not None, dtype=layer.weight.dtype)
        part.weight = nn.Parameter(layer.weight.detach().chunk(3)[at] * factor)
        if layer.bias is not None:
            part.bias = nn.Parameter(layer.bias.detach().chunk(3)[at] * factor)
        thirds.append(part)
    return thirds


def linear(module: nn.Module) -> nn.Module | None:
    """Replace Linear by LinearOfRows."""
    if not isinstance(module, nn.Linear) or not computes_as(module, nn.Linear) or module.bias is None:
        return None
    return LinearOfRows(module)


class LinearOfRows(nn.Linear):
    """A linear layer, (..., c) to (..., d), that multiplies one matrix of rows: the engine adds the bias on the way."""

    def __init__(self, layer: nn.Linear) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = layer.in_features, layer.out_features
        self.weight, self.bias = layer.weight, layer.bias

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's results."""
        if x.dim() < 3:
            return F.linear(x, self.weight, self.bias)
        y = F.linear(x.reshape(-1, self.in_features), self.weight, self.bias)
        return y.reshape(-1, *x.shape[1:-1], self.out_features)


def gelu(module: nn.Module) -> nn.Module | None:
    """Replace GELU by FusedGelu."""
    plain = isinstance(module, nn.GELU) and computes_as(module, nn.GELU) and module.approximate == "none"
    return FusedGelu() if plain else None


class FusedGelu(nn.Module):
    """GELU in the order of products in which ONNX Runtime knows it as one node."""

    def forward(self, x: Tensor) -> Tensor:
        """Return x where it is large, 0 where it is small."""
        return x * (torch.erf(x / math.sqrt(2)) + 1) * 0.5
