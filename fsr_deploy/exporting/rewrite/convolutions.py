"""Exact algebra on convolutions: batch norms folded in, kernels merged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from fsr_deploy.models.sameness import computes_as

BLOCK = 16


def convolution(weight: Tensor, bias: Tensor | None = None, **geometry: Any) -> nn.Conv2d:
    """Return a convolution of given weights (cout, cin / groups, height, width); ``geometry`` is nn.Conv2d's."""
    cout, cin, height, width = weight.shape
    cin *= geometry.get("groups", 1)
    layer = nn.Conv2d(cin, cout, (height, width), bias=bias is not None, dtype=weight.dtype, **geometry)
    layer.weight = nn.Parameter(weight.detach().clone())
    if bias is not None:
        layer.bias = nn.Parameter(bias.detach().clone())
    return layer


def pointwise(weight: Tensor, bias: Tensor | None = None, groups: int = 1) -> nn.Conv2d:
    """Return a 1x1 convolution of given weights, (cout, cin / groups)."""
    return convolution(weight[:, :, None, None], bias, groups=groups)


def fold_batch_norm(module: nn.Module) -> nn.Module | None:
    """Fold each batch norm of a Sequential into the convolution before it, or make it a 1x1 depthwise convolution.

    The Sequential itself stays, with its class and attributes, and an Identity takes the place of a norm that is gone:
    whoever indexes it finds the other layers where they were.
    """
    if not is_chain(module):
        return None
    layers = module._modules
    before: str | None = None
    folded = False
    for name, layer in layers.items():
        if isinstance(layer, nn.BatchNorm2d) and computes_as(layer, nn.BatchNorm2d):
            previous = layers[before] if before is not None else None
            if before is not None and isinstance(previous, nn.Conv2d) and computes_as(previous, nn.Conv2d):
                layers[before], layers[name] = fuse_conv_bn_eval(previous, layer), nn.Identity()
            else:
                layers[name] = _affine(layer)
            folded = True
        if not isinstance(layers[name], nn.Identity):
            before = name
    return module if folded else None


def _affine(norm: nn.BatchNorm2d) -> nn.Conv2d:
    """Return a batch norm as a depthwise 1x1 convolution, which engines fuse with the activation after it."""
    assert norm.running_mean is not None and norm.running_var is not None
    weight = torch.ones_like(norm.running_var) if norm.weight is None else norm.weight.detach()
    scale = weight / torch.sqrt(norm.running_var + norm.eps)
    shift = torch.zeros_like(scale) if norm.bias is None else norm.bias.detach()
    return pointwise(scale[:, None], shift - norm.running_mean * scale, groups=len(scale))


def merge_kernels(convolutions: Sequence[nn.Conv2d]) -> nn.Conv2d:
    """Return one convolution that gives the channels of all, concatenated; small kernels are padded with zeros."""
    size = max(layer.kernel_size[0] for layer in convolutions)
    weights = [F.pad(layer.weight, [(size - layer.kernel_size[0]) // 2] * 4) for layer in convolutions]
    return convolution(torch.cat(weights), torch.cat([_bias(layer) for layer in convolutions]), padding=size // 2)


def layers_of(chain: nn.Module) -> list[nn.Module]:
    """Return the layers of a Sequential that do something."""
    return [layer for layer in chain.children() if not isinstance(layer, nn.Identity)]


def is_chain(module: nn.Module) -> bool:
    """Tell whether a module does no more than to run its children one after the other."""
    return type(module).forward is nn.Sequential.forward


def one_slope(module: nn.Module) -> nn.Module | None:
    """Replace PReLU with one slope by leaky ReLU, which engines fuse with the convolution before it."""
    if not isinstance(module, nn.PReLU) or not computes_as(module, nn.PReLU) or module.num_parameters > 1:
        return None
    return nn.LeakyReLU(module.weight.item())


def _bias(layer: nn.Conv2d) -> Tensor:
    return layer.bias if layer.bias is not None else layer.weight.new_zeros(layer.out_channels)
