"""ATD's attention among positions of a category (arXiv 2401.08209), the same for the same face in every run.

ATD sorts positions by category and cuts them into groups. Its sort leaves the order within a category to the machine,
and so which positions attend to each other, and the picture: here they stay in order. It sorts back in a loop over the
batch, which no graph holds: here the places are counted. Told by its name and attributes, because the library that
holds it need not be installed.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn


def in_order(network: nn.Module) -> nn.Module:
    """Return the network with each of ATD's attentions among positions of a category replaced by Categories."""
    wanted = ("num_tokens", "num_heads", "category_size", "logit_scale", "proj")
    for name, module in list(network.named_modules()):
        if type(module).__name__ == "AC_MSA" and all(hasattr(module, attribute) for attribute in wanted):
            network.set_submodule(name, Categories(module))
    return network


class Categories(nn.Module):
    """Attention among positions that are alike, in groups of positions that are sorted by category.

    Queries, keys and values are (N, n, 3 c), the similarity to each category's token (N, n, m); gives (N, n, c).
    """

    def __init__(self, old: Any) -> None:
        super().__init__()
        self.proj, self.logit_scale = old.proj, old.logit_scale
        self.heads, self.tokens, self.most = old.num_heads, old.num_tokens, old.category_size

    def forward(self, qkv: Tensor, similarity: Tensor, size: object) -> Tensor:
        """Return the attended values; ``size`` is that of the picture, which does not matter here."""
        n, width = qkv.shape[1], qkv.shape[2] // 3
        group = min(n, self.most)
        groups = -(-n // group)
        places = ranks(similarity.argmax(-1), self.tokens)
        positions = torch.arange(n, device=places.device).expand_as(places)
        order = torch.zeros_like(places).scatter(1, places, positions)
        rows = qkv.gather(1, order[:, :, None].expand_as(qkv))
        rows = torch.cat([rows, rows[:, n - (groups * group - n) :].flip(1)], 1)
        q, k, v = rows.reshape(-1, groups, group, 3, self.heads, width // self.heads).permute(3, 0, 1, 4, 2, 5)
        scale = self.logit_scale.clamp(max=math.log(100.0)).exp()
        y = (q @ k.transpose(-2, -1) * scale).softmax(-1) @ v
        y = y.transpose(2, 3).reshape(-1, groups * group, width)[:, :n]
        projected: Tensor = self.proj(y.gather(1, places[:, :, None].expand_as(y)))
        return projected


def ranks(categories: Tensor, count: int) -> Tensor:
    """Return the place of each position, (N, n), when they are sorted by category in a stable way.

    It is counted, not sorted: TensorRT sorts no more than 3840 values.
    """
    member = (categories[:, :, None] == torch.arange(count, device=categories.device)).to(torch.int32)
    before = member.cumsum(1, dtype=torch.int32)
    sizes = before[:, -1]
    first = sizes.cumsum(1, dtype=torch.int32) - sizes
    return ((before - 1 + first[:, None]) * member).sum(2)
