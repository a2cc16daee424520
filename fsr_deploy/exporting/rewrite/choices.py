"""Modules that choose by the values of each face what runs: in PyTorch a list index, of which no graph has the number.

They are told by their names and attributes, because the libraries that hold them need not be installed.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def experts(module: Any) -> nn.Module | None:
    """Replace SeemoRe's layer of experts, of which each face takes its own, by Experts."""
    wanted = ("experts", "gate", "num_expert")
    known = type(module).__name__ == "MoELayer" and all(hasattr(module, name) for name in wanted)
    return Experts(module) if known else None


class Experts(nn.Module):
    """What the likeliest of some experts add to (N, c, h, w), each times its likelihood (SeemoRe, arXiv 2402.03412).

    All of them run; those that a face does not take are multiplied by 0.
    """

    def __init__(self, old: Any) -> None:
        super().__init__()
        self.experts, self.gate, self.count = old.experts, old.gate, old.num_expert

    def forward(self, inputs: Tensor, k: Tensor) -> Tensor:
        """Return the inputs and what the experts make of them and ``k``."""
        likely, which = self.gate(inputs).softmax(1).topk(self.count, 1)
        taken = which[:, :, None] == torch.arange(len(self.experts), device=which.device)
        shares = (taken.to(likely.dtype) * likely[:, :, None]).sum(1)
        y = inputs
        for at, expert in enumerate(self.experts):
            y = y + expert(inputs, k) * shares[:, at, None, None, None]
        return y
