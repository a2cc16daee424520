"""Parameters and multiply-accumulates of a network, counted as the papers' tables do.

Both papers' figures are thop's (pytorch-OpCounter 0.1.1). Its convention, kept here for comparison and nothing else:
modules are matched by exact type, everything functional is free (attention's matrix products, interpolation, sums),
a convolution is counted without its bias, batch norm as four operations per element, and a transposed convolution
like a convolution on its output grid, which is stride^2 times too much.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

Rule = Callable[[Any, Tensor, Tensor], int]


@dataclass(frozen=True)
class Complexity:
    """What a network weighs: its parameters, and the multiply-accumulates of one face."""

    params: int
    macs: int


def count(module: nn.Module, shape: tuple[int, int, int] = (3, 128, 128)) -> Complexity:
    """Count a network's parameters, and its multiply-accumulates on one input of ``shape`` (channels, height, width).

    Runs the network once, in evaluation mode, on the device of its parameters. A network built under
    ``torch.device("meta")`` is counted without computing anything.
    """
    macs = 0

    def add(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal macs
        macs += _RULES[type(layer)](layer, inputs[0], output)

    hooks = [layer.register_forward_hook(add) for layer in module.modules() if type(layer) in _RULES]
    training = module.training
    parameters = list(module.parameters())
    try:
        with torch.no_grad():
            module.eval()(torch.zeros(1, *shape, device=parameters[0].device))
    finally:
        module.train(training)
        for hook in hooks:
            hook.remove()
    return Complexity(sum(p.numel() for p in parameters), macs)


def _convolution(layer: Any, x: Tensor, y: Tensor) -> int:
    """One product per output element, kernel position and input channel of the group."""
    return y.numel() * (x.shape[1] // layer.groups) * prod(layer.kernel_size)


def _batch_norm(_layer: Any, x: Tensor, _y: Tensor) -> int:
    return 4 * x.numel()


def _per_input(_layer: Any, x: Tensor, _y: Tensor) -> int:
    return x.numel()


def _per_output(_layer: Any, _x: Tensor, y: Tensor) -> int:
    return y.numel()


def _global_pool(_layer: Any, x: Tensor, y: Tensor) -> int:
    return x.numel() + y.numel()


def _linear(layer: Any, _x: Tensor, y: Tensor) -> int:
    return y.numel() * layer.in_features


_RULES: dict[type[nn.Module], Rule] = {
    nn.Conv1d: _convolution,
    nn.Conv2d: _convolution,
    nn.ConvTranspose2d: _convolution,
    nn.BatchNorm2d: _batch_norm,
    nn.PReLU: _per_input,
    nn.AvgPool2d: _per_output,
    nn.AdaptiveAvgPool2d: _global_pool,
    nn.Upsample: _per_output,
    nn.Linear: _linear,
}
