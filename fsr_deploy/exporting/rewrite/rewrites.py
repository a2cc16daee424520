"""Exact rewrites of a trained network for deployment: the same function in a form that engines run well.

Each rewrite is a small function from a module to its replacement, or None where it does not apply, listed with its
reason and the targets where it is the default. benchmarks/rewrites.py times each of them, on and off.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from fsr_deploy.errors import InputError
from fsr_deploy.exporting.rewrite.attention import Apart, Together, channel_attention
from fsr_deploy.exporting.rewrite.choices import experts
from fsr_deploy.exporting.rewrite.convolutions import fold_batch_norm, one_slope
from fsr_deploy.exporting.rewrite.foreign import codebook, merged, modulated
from fsr_deploy.exporting.rewrite.fourier import patch_correlation, patch_filter
from fsr_deploy.exporting.rewrite.hvi import hvi
from fsr_deploy.exporting.rewrite.ort_blocked import layer_norm, rdfe, skaf
from fsr_deploy.exporting.rewrite.polyphase import hourglass, polyphase_enlarged, polyphase_transposed
from fsr_deploy.exporting.rewrite.shuffle import pixel_shuffle
from fsr_deploy.exporting.rewrite.windows import gelu, linear, window_attention
from fsr_deploy.models.pyramid_attention import PA
from fsr_deploy.models.sameness import copied, is_hooked, plain_weights

Target = Literal["onnxruntime", "openvino", "tensorrt"]  # bundle.TARGETS
ONNXRUNTIME: frozenset[Target] = frozenset({"onnxruntime"})
ON_A_CPU: frozenset[Target] = frozenset({"onnxruntime", "openvino"})
EVERYWHERE: frozenset[Target] = frozenset({"onnxruntime", "openvino", "tensorrt"})


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
    Rewrite("modulated", "a kernel for each face is a convolution with as many groups as faces", modulated, EVERYWHERE),
    Rewrite("codebook", "as many one-hot rows as positions multiply a whole codebook", codebook, EVERYWHERE),
    Rewrite("merged", "a convolution that is merged from four in every run", merged, EVERYWHERE),
    Rewrite("experts", "a list of experts cannot be indexed by what a graph computes", experts, EVERYWHERE),
    Rewrite("patch_filter", "engines have no Fourier transform", patch_filter, EVERYWHERE),
    Rewrite("patch_correlation", "engines have no Fourier transform", patch_correlation, EVERYWHERE),
    Rewrite("hvi", "a graph cannot write to chosen pixels whose number it does not know", hvi, EVERYWHERE),
    Rewrite(
        "plain_weights", "weights that are computed from others would be so in every run", plain_weights, EVERYWHERE
    ),
    Rewrite(
        "batch_norm",
        "a batch norm after a convolution is part of its weights, before any rounding of them to half precision",
        fold_batch_norm,
        EVERYWHERE,
    ),
    Rewrite(
        "channel_attention",
        "F.normalize emits Shape, Expand and Clip and overflows half precision",
        channel_attention,
        EVERYWHERE,
    ),
    Rewrite("separate_qkv", "taking Q, K and V apart copies all three", separate_qkv, ON_A_CPU),
    Rewrite(
        "layer_norm", "normalising channels takes two transposes and leaves the blocked layout", layer_norm, ONNXRUNTIME
    ),
    Rewrite("rdfe", "a concatenation of odd widths leaves the blocked layout", rdfe, ONNXRUNTIME),
    Rewrite("skaf", "reductions and broadcasts over channels leave the blocked layout", skaf, ONNXRUNTIME),
    Rewrite("one_slope", "a PReLU with one slope is a leaky ReLU, which engines fuse", one_slope, EVERYWHERE),
    Rewrite(
        "transposed", "ConvTranspose multiplies into columns that it then adds up", polyphase_transposed, ONNXRUNTIME
    ),
    Rewrite("hourglass", "enlarged pixels are equal: 16 instead of 36 products for each", hourglass, ONNXRUNTIME),
    Rewrite(
        "enlarged", "enlarged pixels are equal: 16 instead of 36 products for each", polyphase_enlarged, ONNXRUNTIME
    ),
    Rewrite(
        "window_attention",
        "Q, K and V are copied to take them apart, and masks and biases take a pass over the attention each",
        window_attention,
        ONNXRUNTIME,
    ),
    Rewrite("linear", "a bias is added in a pass of its own, but for a matrix of rows", linear, ONNXRUNTIME),
    Rewrite("gelu", "five passes in the exporter's order of products, one in another", gelu, ONNXRUNTIME),
    Rewrite("pixel_shuffle", "DepthToSpace moves pixel by pixel", pixel_shuffle, ONNXRUNTIME),
    Rewrite("shift_attention", "a quarter of the multiplications", shift_attention, ONNXRUNTIME),
)


def rewrite(network: nn.Module, target: Target, rewrites: Sequence[Rewrite] = REWRITES) -> nn.Module:
    """Return a copy of a network in eval mode with the target's rewrites applied, in order, to each of its modules.

    Raises InputError for a network whose faces depend on each other.
    """
    network = copied(network).eval()
    _refuse_batch_statistics(network)
    for step in rewrites:
        if target in step.targets:
            network = _apply(network, step, {})
    return network


def _apply(module: nn.Module, step: Rewrite, done: dict[nn.Module, nn.Module]) -> nn.Module:
    """Apply a rewrite to the modules inside a module, then to itself; ``done`` are those that were met before.

    A module with a hook is not replaced, and a replacement keeps what the module says of its precision.
    """
    if module in done:
        return done[module]
    for name, child in module._modules.items():
        if child is not None:
            module._modules[name] = _apply(child, step, done)
    replacement = step.apply(module)
    if replacement is None or (replacement is not module and is_hooked(module)):
        replacement = module
    if replacement is not module and (reason := getattr(module, "fp32_reason", None)):
        replacement.fp32_reason = reason
    done[module] = replacement.eval()
    return done[module]


def _refuse_batch_statistics(network: nn.Module) -> None:
    for name, module in network.named_modules():
        if isinstance(module, _BatchNorm) and module.running_mean is None:
            raise InputError(
                f"module {name}: a batch norm without running statistics makes each face depend on the others of its "
                "batch; train it with track_running_stats, or take an instance norm"
            )
