"""Exact rewrites of a trained network for deployment: the same function in a form that engines run well.

Each rewrite is a small function from a module to its replacement, or None where it does not apply, listed with its
reason and the targets it pays on (benchmarks/rewrites.py measures that). They work on a copy of the network.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from fsr_deploy.models import aminet

Target = Literal["cpu", "trt"]


@dataclass(frozen=True)
class Rewrite:
    """One rewrite: ``apply`` returns a module's replacement or None; ``targets`` are those where it is the default."""

    name: str
    reason: str
    apply: Callable[[nn.Module], nn.Module | None]
    targets: frozenset[Target]


class ChannelMixing(nn.Module):
    """The attention matrix between channels with the output projection multiplied in.

    Maps Q and K, (N, heads, w/heads, HW) each, to (N, w, w): the matrix that takes V's channels to SA's output. The
    norms divide the small matrix of logits and not Q and K, and the projection meets the attention before V does;
    both are the same by associativity.
    """

    fp32_reason = "sums of squares over all positions overflow half precision at 65504, without a NaN"

    def __init__(self, attention: aminet.SA, eps: float = 1e-12) -> None:
        super().__init__()
        self.eps = eps
        self.tau = attention.tau
        weight = attention.project.weight.detach().flatten(1)
        self.projection = nn.Parameter(weight.unflatten(1, (attention.heads, -1)).transpose(0, 1).contiguous())

    def forward(self, q: Tensor, k: Tensor) -> Tensor:
        """Return projection @ softmax(tau * cos(q, k)) of all heads side by side."""
        norms = self._norm(q) * self._norm(k).transpose(-2, -1)
        attention = (q @ k.transpose(-2, -1) / norms * self.tau).softmax(dim=-1)
        return (self.projection @ attention).transpose(1, 2).flatten(2)

    def _norm(self, x: Tensor) -> Tensor:
        return torch.linalg.vector_norm(x, dim=-1, keepdim=True).clamp_min(self.eps)


class ChannelAttention(nn.Module):
    """SA without F.normalize: (N, w, H, W) to the same shape."""

    def __init__(self, attention: aminet.SA) -> None:
        super().__init__()
        self.heads = attention.heads
        self.qkv = attention.qkv
        self.depthwise = attention.depthwise
        self.mixing = ChannelMixing(attention)

    def forward(self, x: Tensor) -> Tensor:
        """Attend between the channels of x."""
        q, k, v = self.depthwise(self.qkv(x)).flatten(2).chunk(3, dim=1)
        mixing = self.mixing(q.unflatten(1, (self.heads, -1)), k.unflatten(1, (self.heads, -1)))
        return (mixing @ v).unflatten(2, x.shape[-2:])


def channel_attention(module: nn.Module) -> nn.Module | None:
    """Replace SA by ChannelAttention."""
    return ChannelAttention(module) if isinstance(module, aminet.SA) else None


class ChannelAffine(nn.Module):
    """Batch norm without statistics: (N, w, H, W) to the same shape, scaled and shifted per channel."""

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        state = norm.state_dict()
        scale = state["weight"] / torch.sqrt(state["running_var"] + norm.eps)
        self.scale = nn.Parameter(scale.view(-1, 1, 1))
        self.shift = nn.Parameter((state["bias"] - state["running_mean"] * scale).view(-1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Return scale * x + shift."""
        return x * self.scale + self.shift


def fold_batch_norm(module: nn.Module) -> nn.Module | None:
    """Fold each batch norm of a Sequential into the convolution before it."""
    if not isinstance(module, nn.Sequential) or not any(isinstance(layer, nn.BatchNorm2d) for layer in module):
        return None
    layers: list[nn.Module] = []
    for layer in module:
        if isinstance(layer, nn.BatchNorm2d) and layers and isinstance(layers[-1], nn.Conv2d):
            layers[-1] = fuse_conv_bn_eval(layers[-1], layer)
        else:
            layers.append(ChannelAffine(layer) if isinstance(layer, nn.BatchNorm2d) else layer)
    return nn.Sequential(*layers)


REWRITES: tuple[Rewrite, ...] = (
    Rewrite(
        "channel_attention",
        "F.normalize emits Shape, Expand and Clip and overflows half precision",
        channel_attention,
        frozenset({"cpu", "trt"}),
    ),
    Rewrite(
        "fold_batch_norm",
        "a batch norm after a convolution is part of its weights",
        fold_batch_norm,
        frozenset({"cpu", "trt"}),
    ),
)


def rewrite(network: nn.Module, target: Target, rewrites: tuple[Rewrite, ...] = REWRITES) -> nn.Module:
    """Return a copy of a network in eval mode with the target's rewrites applied, in order, to each of its modules."""
    network = copy.deepcopy(network)
    for step in rewrites:
        if target in step.targets:
            network = _apply(network, step)
    return network


def _apply(module: nn.Module, step: Rewrite) -> nn.Module:
    for name, child in module.named_children():
        module.set_submodule(name, _apply(child, step))
    replacement = step.apply(module)
    return module if replacement is None else replacement.eval()
