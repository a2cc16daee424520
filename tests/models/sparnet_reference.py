"""SPARNet as its paper describes it, on a plain dictionary of weights under the public implementation's names.

C. Chen et al., "Learning Spatial Attention for Face Super-Resolution", TIP 2020. Faces of 128x128, 32 to 128 channels.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

ENCODER = [("encoder.1", 32, 64, 4), ("encoder.2", 64, 128, 3), ("encoder.3", 128, 128, 2)]
MIDDLE = [(f"res_layers.{i}", 128, 128, 2) for i in range(10)]
DECODER = [("decoder.0", 128, 128, 3), ("decoder.1", 128, 64, 4), ("decoder.2", 64, 32, 5)]

Weights = dict[str, Tensor]


def random_weights(seed: int = 0) -> Weights:
    """Return weights for every layer: of a scale that keeps features near 1, with norms that are not the identity."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name, shape in _shapes():
        values = torch.randn(shape, generator=generator)
        if name.endswith("num_batches_tracked"):
            weights[name] = torch.tensor(7)
        elif name.endswith(("norm.weight", "running_var")):
            weights[name] = 1 + 0.1 * values.abs()
        elif len(shape) == 4:
            weights[name] = values / (shape[1] * 9) ** 0.5
        else:
            weights[name] = 0.1 * values
    return weights


def sparnet(weights: Weights, x: Tensor) -> Tensor:
    """Return the SR faces of (N, 3, 128, 128) in [-1, 1]."""
    y = _conv(weights, "encoder.0", x)
    for name, *_ in ENCODER:
        y = _attention_unit(weights, name, y, "down")
    for name, *_ in MIDDLE:
        y = _attention_unit(weights, name, y, "")
    for name, *_ in DECODER:
        y = _attention_unit(weights, name, y, "up")
    return _conv(weights, "out_conv", y)


def _attention_unit(weights: Weights, name: str, x: Tensor, scale: str) -> Tensor:
    """Face attention unit: a pre-activated residual branch, weighed at each pixel by an hourglass's map."""
    before, after = (scale, "") if scale == "up" else ("", scale)
    y = F.leaky_relu(_norm(weights, f"{name}.preact_func.0.norm", x), 0.2)
    y = _conv_norm_relu(weights, f"{name}.conv1", y, before)
    y = _norm(weights, f"{name}.conv2.norm.norm", _conv(weights, f"{name}.conv2", y, after))
    depth = sum(key.startswith(f"{name}.att_func.b1_") and key.endswith("conv2d.weight") for key in weights)
    scores = _conv(weights, f"{name}.att_func.out_block.0", _hourglass(weights, f"{name}.att_func", y, depth))
    shortcut = _conv(weights, f"{name}.shortcut_func", x, scale) if scale else x
    return shortcut + y * torch.sigmoid(scores)


def _hourglass(weights: Weights, name: str, x: Tensor, level: int) -> Tensor:
    inner = _conv_norm_relu(weights, f"{name}.b2_{level}", x, "down")
    if level > 1:
        inner = _hourglass(weights, name, inner, level - 1)
    else:
        inner = _conv_norm_relu(weights, f"{name}.b2_plus_1", inner)
    return _conv_norm_relu(weights, f"{name}.b1_{level}", x) + _conv_norm_relu(
        weights, f"{name}.b3_{level}", inner, "up"
    )


def _conv_norm_relu(weights: Weights, name: str, x: Tensor, scale: str = "") -> Tensor:
    return F.leaky_relu(_norm(weights, f"{name}.norm.norm", _conv(weights, name, x, scale)), 0.2)


def _conv(weights: Weights, name: str, x: Tensor, scale: str = "") -> Tensor:
    if scale == "up":
        x = F.interpolate(x, scale_factor=2, mode="nearest")
    x = F.pad(x, (1, 1, 1, 1), mode="reflect")
    return F.conv2d(
        x, weights[f"{name}.conv2d.weight"], weights.get(f"{name}.conv2d.bias"), 2 if scale == "down" else 1
    )


def _norm(weights: Weights, name: str, x: Tensor) -> Tensor:
    mean, variance = weights[f"{name}.running_mean"], weights[f"{name}.running_var"]
    return F.batch_norm(x, mean, variance, weights[f"{name}.weight"], weights[f"{name}.bias"])


def _shapes() -> Iterator[tuple[str, tuple[int, ...]]]:
    yield from _conv_shapes("encoder.0", 3, 32)
    for name, cin, cout, depth in ENCODER + MIDDLE + DECODER:
        yield from _norm_shapes(f"{name}.preact_func.0.norm", cin)
        yield from _conv_norm_shapes(f"{name}.conv1", cin, cout)
        yield from _conv_norm_shapes(f"{name}.conv2", cout, cout)
        if not name.startswith("res_layers"):
            yield from _conv_shapes(f"{name}.shortcut_func", cin, cout)
        for level in range(1, depth + 1):
            width = cout if level == depth else 64
            yield from _conv_norm_shapes(f"{name}.att_func.b1_{level}", width, 64)
            yield from _conv_norm_shapes(f"{name}.att_func.b2_{level}", width, 64)
            yield from _conv_norm_shapes(f"{name}.att_func.b3_{level}", 64, 64)
        yield from _conv_norm_shapes(f"{name}.att_func.b2_plus_1", 64, 64)
        yield from _conv_shapes(f"{name}.att_func.out_block.0", 64, 1)
    yield from _conv_shapes("out_conv", 32, 3)


def _conv_shapes(name: str, cin: int, cout: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.conv2d.weight", (cout, cin, 3, 3)
    yield f"{name}.conv2d.bias", (cout,)


def _conv_norm_shapes(name: str, cin: int, cout: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.conv2d.weight", (cout, cin, 3, 3)
    yield from _norm_shapes(f"{name}.norm.norm", cout)


def _norm_shapes(name: str, channels: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    for part in ("weight", "bias", "running_mean", "running_var"):
        yield f"{name}.{part}", (channels,)
    yield f"{name}.num_batches_tracked", ()
