"""Parameters and multiply-accumulates of a network, counted in the two ways that the papers' tables are counted.

``products`` counts the products of all convolutions and matrix products, and nothing else: what the hardware
multiplies, and the figures of MFSPNet's and SPARNet's table.

``thop`` counts as pytorch-OpCounter 0.1.1 does, whose figures AMINet's tables have: by modules of known types, so that
matrix products are free; four operations per element for batch norm; and a transposed convolution like a convolution on
its output grid, stride^2 times too much. It serves that comparison only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

Rule = Callable[[Any, Tensor, Tensor], int]


@dataclass(frozen=True)
class Complexity:
    """What a network weighs: its parameters, and the multiply-accumulates of one face in both countings."""

    params: int
    products: int
    thop: int


def count(module: nn.Module, shape: tuple[int, int, int] = (3, 128, 128)) -> Complexity:
    """Count a network's parameters, and its multiply-accumulates on one input of ``shape`` (channels, height, width).

    Runs the network once, in evaluation mode, on the device of its parameters. A network built under
    ``torch.device("meta")`` is counted without computing anything.
    """
    thop = 0

    def add(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal thop
        thop += _RULES[type(layer)](layer, inputs[0], output)

    hooks = [layer.register_forward_hook(add) for layer in module.modules() if type(layer) in _RULES]
    training = module.training
    parameters = list(module.parameters())
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as flops:
            module.eval()(torch.zeros(1, *shape, device=parameters[0].device))
    finally:
        module.train(training)
        for hook in hooks:
            hook.remove()
    return Complexity(sum(p.numel() for p in parameters), flops.get_total_flops() // 2, thop)


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
