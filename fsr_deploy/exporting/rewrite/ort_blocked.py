"""AMINet's blocks in forms that ONNX Runtime's CPU provider runs without leaving its blocked layout.

It holds the tensors between convolutions with the channels in blocks of 16 and fuses sums and activations into the
convolutions that give them. Convolutions, sums and products of equal shapes stay in that layout. A broadcast, a
concatenation of odd widths, a reduction or a transpose leaves it: two copies of the tensor, and nothing is fused.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fsr_deploy.exporting.rewrite.convolutions import BLOCK, merge_kernels, pointwise
from fsr_deploy.models.aminet import RDFE, SKAF, AttentionUnit, LayerNorm, channel_max, channel_mean
from fsr_deploy.models.sameness import computes_as


class BlockedLayerNorm(nn.Module):
    """LayerNorm, (N, w, H, W) to the same shape, of 1x1 convolutions: one subtracts the mean, one takes the variance,
    one hands the scale back to all channels."""

    fp32_reason = "the squares of a layer norm's deviations overflow half precision from 256 on"

    def __init__(self, norm: LayerNorm) -> None:
        super().__init__()
        self.eps = norm.eps
        gain = norm.weight.detach()
        width = len(gain)
        self.deviation = pointwise(torch.eye(width, dtype=gain.dtype) - 1 / width)
        self.variance = pointwise(gain.new_full((1, width), 1 / width))
        self.gain = pointwise(gain[:, None])
        self.bias = pointwise(gain.new_ones(width, 1), norm.bias, groups=width)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise each pixel's channels to mean 0 and variance 1, then scale and shift them."""
        y = self.deviation(x)
        return self.bias(y * self.gain(torch.rsqrt(self.variance(y * y) + self.eps)))


def layer_norm(module: nn.Module) -> nn.Module | None:
    """Replace LayerNorm by BlockedLayerNorm."""
    return BlockedLayerNorm(module) if isinstance(module, LayerNorm) and computes_as(module, LayerNorm) else None


class SumOfPointwise(nn.Module):
    """A 1x1 convolution of a concatenation as a sum of 1x1 convolutions of its parts, all (N, w, H, W)."""

    def __init__(self, layer: nn.Conv2d, parts: int) -> None:
        super().__init__()
        first, *others = layer.weight.detach().flatten(1).chunk(parts, dim=1)
        self.parts = nn.ModuleList([pointwise(first, layer.bias), *map(pointwise, others)])

    def forward(self, xs: Sequence[Tensor], start: Tensor | None = None) -> Tensor:
        """Return the convolution of cat(xs), plus ``start``."""
        y = start
        for part, x in zip(self.parts, xs, strict=True):
            y = part(x) if y is None else y + part(x)
        assert y is not None
        return y


class BlockedRDFE(nn.Module):
    """RDFE, eqs 6-10, without its concatenations: (N, w, H, W) to the same shape."""

    def __init__(self, block: RDFE) -> None:
        super().__init__()
        self.first, self.second, self.refine = block.first, block.second, block.refine
        unit = next(block.unit.children())
        assert isinstance(unit, nn.Conv2d)
        self.unit = SumOfPointwise(unit, len(block.first))
        self.mix = SumOfPointwise(block.mix, len(block.first))

    def forward(self, x: Tensor) -> Tensor:
        """Extract local detail at the scales of the kernels."""
        scales = [conv(x) for conv in self.first]
        m = torch.sigmoid(self.unit(scales))
        scales = [conv(f * m) for conv, f in zip(self.second, scales, strict=True)]
        return self.refine(self.mix(scales, x))


def rdfe(module: nn.Module) -> nn.Module | None:
    """Replace RDFE by BlockedRDFE where it has its attention unit."""
    if not isinstance(module, RDFE) or not computes_as(module, RDFE) or not isinstance(module.unit, AttentionUnit):
        return None
    return BlockedRDFE(module)


class BlockedSKAF(nn.Module):
    """SKAF, eqs 11-14: (N, w, H, W) to two weight maps, of w equal channels each instead of one.

    Reductions over the channels are fastest with the channels last, to which the blocked layout is turned in one copy.
    A 1x1 convolution of ones hands each map to all channels, so that the products with them need no broadcast.
    Branches that do not fill a block of channels share one convolution.
    """

    def __init__(self, block: SKAF) -> None:
        super().__init__()
        branches = [layer for layer in block.branches if isinstance(layer, nn.Conv2d)]
        narrow = branches[0].out_channels < BLOCK
        self.branches = nn.ModuleList([merge_kernels(branches)] if narrow else branches)
        self.pools = block.pools
        self.spread = pointwise(branches[0].weight.new_ones(branches[0].in_channels, 1))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the two maps."""
        # As rows of channels: a transpose alone would be moved behind the reduction, back to the slow order.
        parts = [branch(x).permute(0, 2, 3, 1).flatten(1, 2) for branch in self.branches]
        maps = (torch.sigmoid(_pool(parts, pool is channel_max)) for pool in self.pools)
        return tuple(self.spread(y.unflatten(1, (1, *x.shape[2:]))) for y in maps)


def _pool(parts: Sequence[Tensor], largest: bool) -> Tensor:
    """Return the maximum or mean of the channels of equally wide (N, HW, c): (N, HW)."""
    pooled = parts[0].amax(dim=2) if largest else parts[0].mean(dim=2)
    for part in parts[1:]:
        pooled = torch.maximum(pooled, part.amax(dim=2)) if largest else pooled + part.mean(dim=2)
    return pooled if largest else pooled / len(parts)


def skaf(module: nn.Module) -> nn.Module | None:
    """Replace SKAF by BlockedSKAF where its pools are the channels' mean and maximum."""
    if (
        not isinstance(module, SKAF)
        or not computes_as(module, SKAF)
        or not set(module.pools) <= {channel_mean, channel_max}
    ):
        return None
    return BlockedSKAF(module)
