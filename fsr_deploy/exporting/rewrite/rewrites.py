"""Exact rewrites of a trained network for deployment: the same function in a form that engines run well.

Each rewrite is a small function from a module to its replacement, or None where it does not apply, listed with its
reason and the targets where it is the default. benchmarks/rewrites.py times each of them, on and off.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import nn

from fsr_deploy.exporting.rewrite.attention import Apart, Together, channel_attention
from fsr_deploy.exporting.rewrite.convolutions import fold_batch_norm, one_slope
from fsr_deploy.exporting.rewrite.ort_blocked import layer_norm, rdfe, skaf
from fsr_deploy.exporting.rewrite.polyphase import hourglass, phases_of_enlarged, phases_of_transposed
from fsr_deploy.models.pyramid_attention import PA

Target = Literal["onnxruntime", "tensorrt"]  # bundle.TARGETS
ONNXRUNTIME: frozenset[Target] = frozenset({"onnxruntime"})
BOTH: frozenset[Target] = frozenset({"onnxruntime", "tensorrt"})


@dataclass(frozen=True)
class Rewrite:
    """One rewrite: ``apply`` gives a module's replacement or None; ``targets`` are those where it is the default."""

    name: str
    reason: str
    apply: Callable[[nn.Module], nn.Module | None]
    targets: frozenset[Target]


def separate_qkv(module: nn.Module) -> nn.Module | None:
    """Replace Together by Apart."""
    return Apart(module) if isinstance(module, Together) else None


def shift_attention(module: nn.Module) -> nn.Module | None:
    """Set the form of PA that multiplies least."""
    if not isinstance(module, PA):
        return None
    module.form = "shift"
    return module


REWRITES: tuple[Rewrite, ...] = (
    Rewrite(
        "batch_norm",
        "a batch norm after a convolution is part of its weights, before any rounding of them to half precision",
        fold_batch_norm,
        BOTH,
    ),
    Rewrite(
        "channel_attention",
        "F.normalize emits Shape, Expand and Clip and overflows half precision",
        channel_attention,
        BOTH,
    ),
    Rewrite("separate_qkv", "taking Q, K and V apart copies all three", separate_qkv, ONNXRUNTIME),
    Rewrite(
        "layer_norm", "normalising channels takes two transposes and leaves the blocked layout", layer_norm, ONNXRUNTIME
    ),
    Rewrite("rdfe", "a concatenation of odd widths leaves the blocked layout", rdfe, ONNXRUNTIME),
    Rewrite("skaf", "reductions and broadcasts over channels leave the blocked layout", skaf, ONNXRUNTIME),
    Rewrite("one_slope", "a PReLU with one slope is a leaky ReLU, which engines fuse", one_slope, BOTH),
    Rewrite(
        "transposed", "ConvTranspose multiplies into columns that it then adds up", phases_of_transposed, ONNXRUNTIME
    ),
    Rewrite("hourglass", "enlarged pixels are equal: 16 instead of 36 products for each", hourglass, ONNXRUNTIME),
    Rewrite(
        "enlarged", "enlarged pixels are equal: 16 instead of 36 products for each", phases_of_enlarged, ONNXRUNTIME
    ),
    Rewrite("shift_attention", "a quarter of the multiplications", shift_attention, ONNXRUNTIME),
)


def rewrite(network: nn.Module, target: Target, rewrites: Sequence[Rewrite] = REWRITES) -> nn.Module:
    """Return a copy of a network in eval mode with the target's rewrites applied, in order, to each of its modules."""
    network = copy.deepcopy(network).eval()
    for step in rewrites:
        if target in step.targets:
            network = _apply(network, step)
    return network


def _apply(module: nn.Module, step: Rewrite) -> nn.Module:
    """Apply a rewrite to the modules inside a module, then to itself."""
    for name, child in module.named_children():
        module.set_submodule(name, _apply(child, step))
    replacement = step.apply(module)
    return module if replacement is None else replacement.eval()
