"""Exact algebra on convolutions: batch norms folded in, kernels merged."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

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
    """Fold each batch norm of a Sequential into the convolution before it, or make it a 1x1 depthwise convolution."""
    if not is_chain(module) or not any(isinstance(layer, nn.BatchNorm2d) for layer in module.children()):
        return None
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for name, layer in module.named_children():
        if not isinstance(layer, nn.BatchNorm2d):
            layers[name] = layer
        elif layers and isinstance(previous := next(reversed(layers.values())), nn.Conv2d):
            layers[next(reversed(layers))] = fuse_conv_bn_eval(previous, layer)
        else:
            layers[name] = _affine(layer)
    return nn.Sequential(layers)


def _affine(norm: nn.BatchNorm2d) -> nn.Conv2d:
    """Return a batch norm as a depthwise 1x1 convolution, which engines fuse with the activation after it."""
    state = norm.state_dict()
    scale = state["weight"] / torch.sqrt(state["running_var"] + norm.eps)
    return pointwise(scale[:, None], state["bias"] - state["running_mean"] * scale, groups=len(scale))


def merge_kernels(convolutions: Sequence[nn.Conv2d]) -> nn.Conv2d:
    """Return one convolution that gives the channels of all, one after the other: small kernels get rims of zeros."""
    size = max(layer.kernel_size[0] for layer in convolutions)
    weights = [F.pad(layer.weight, [(size - layer.kernel_size[0]) // 2] * 4) for layer in convolutions]
    return convolution(torch.cat(weights), torch.cat([_bias(layer) for layer in convolutions]), padding=size // 2)


def is_chain(module: nn.Module) -> bool:
    """Tell whether a module does no more than to run its children one after the other."""
    return type(module).forward is nn.Sequential.forward


def one_slope(module: nn.Module) -> nn.Module | None:
    """Replace PReLU with one slope by leaky ReLU, which engines fuse with the convolution before it."""
    if not isinstance(module, nn.PReLU) or module.num_parameters > 1:
        return None
    return nn.LeakyReLU(module.weight.item())


def _bias(layer: nn.Conv2d) -> Tensor:
    return layer.bias if layer.bias is not None else layer.weight.new_zeros(layer.out_channels)
