"""CTCNet, a CNN-Transformer cooperation network for face super-resolution.

G. Gao et al., "CTCNet: A CNN-Transformer Cooperation Network for Face Image Super-Resolution", IEEE Transactions on
Image Processing, 2023, arXiv 2204.08696. The file reads like the paper's figure of the network, top down, and has its
names. What is marked * the figure leaves open: it is as in the authors' public code (github.com/IVIPLab/CTCNet), with
whose weights (ctcnet_keys.py) it computes the same. Modules that their code makes and never runs are left out.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fsr_deploy.models.aminet_ablations import TransformerBlock
from fsr_deploy.models.registry import ModelRecord, register

PAPER = "Gao et al., IEEE TIP 2023, arXiv 2204.08696"
SLOPE = 0.2
REDUCTION = 16
FRM_DEPTH = 2


class CTCNet(nn.Module):
    """The whole network: an encoder and a decoder of LGCMs, FRMs between them, every encoder scale in every MFFU.

    Maps (N, 3, H, W) float RGB in [-1, 1], the bicubically upsampled LR face, to the SR face of the same shape and
    range; H and W are multiples of 8, at least 72. ``width`` is C: the stages are C, 2C, 4C and 4C wide. ``mid`` and
    ``depth`` are the width and the levels of the LGCMs' hourglasses, ``blocks`` is the number of FRMs, and ``heads``
    are the attention heads of the three widths.

    * Four transformer blocks at the full grid and six at the others; hourglasses of depth 4, and 2 in the FRMs. An
    encoder feature is halved and doubled by one convolution for each width, whatever MFFU it goes to; the coarsest is
    doubled to the full grid by another one, run twice.
    """

    def __init__(
        self, width: int = 32, mid: int = 64, blocks: int = 4, depth: int = 4, heads: Sequence[int] = (1, 2, 4)
    ) -> None:
        super().__init__()
        # The innermost grid of an hourglass has two pixels at least: one could not be reflected at the border.
        self.least = 8 + max(4 * 2**depth, 8 * 2**FRM_DEPTH)
        w1, w2, w4 = width, 2 * width, 4 * width
        stages = list(zip((w1, w2, w4), heads, (4, 6, 6), strict=True))
        self.head = nn.Conv2d(3, w1, 3, padding=1)
        self.encoders = nn.ModuleList(LGCM(w, h, transformers, mid, depth) for w, h, transformers in stages)
        self.downs = nn.ModuleList((Down(w1, w2), Down(w2, w4), Down(w4, w4)))
        self.body = nn.Sequential(*(FRM(w4, mid) for _ in range(blocks)))
        self.ups = nn.ModuleList((Up(w4, w4), Up(w4, w2), Up(w2, w1)))
        self.halve1 = nn.Conv2d(w1, w1, 3, stride=2, padding=1)
        self.halve2 = nn.Conv2d(w2, w2, 3, stride=2, padding=1)
        self.double2 = nn.ConvTranspose2d(w2, w2, 8, stride=2, padding=3)
        self.double4 = nn.ConvTranspose2d(w4, w4, 8, stride=2, padding=3)
        self.redouble4 = nn.ConvTranspose2d(w4, w4, 6, stride=2, padding=2)
        every = w1 + w2 + w4
        self.fusions = nn.ModuleList(MFFU(w + every, w) for w in (w4, w2, w1))
        self.decoders = nn.ModuleList(LGCM(w, h, transformers, mid, depth) for w, h, transformers in reversed(stages))
        self.tail = nn.Conv2d(w1, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the SR face, (N, 3, H, W) like the input: the input plus what the last feature adds.

        Raises ValueError where H or W is not a multiple of 8 or below 72.
        """
        height, width = x.shape[-2:]
        if height % 8 or width % 8 or min(height, width) < self.least:
            raise ValueError(
                f"CTCNet works on sides that are multiples of 8 from {self.least} on, not on {height}x{width}"
            )
        f1 = self.encoders[0](self.head(x))
        f2 = self.encoders[1](self.downs[0](f1))
        f4 = self.encoders[2](self.downs[1](f2))
        y = self.body(self.downs[2](f4))
        y = self.fusions[0](self.ups[0](y), f4, self.halve2(f2), self.halve1(self.halve1(f1)))
        y = self.fusions[1](self.ups[1](self.decoders[0](y)), f2, self.halve1(f1), self.double4(f4))
        y = self.fusions[2](self.ups[2](self.decoders[1](y)), f1, self.double2(f2), self.redouble4(self.redouble4(f4)))
        return x + self.tail(self.decoders[2](y))


class LGCM(nn.Module):
    """Local and global feature cooperation: FSAU, then transformer blocks; (N, w, H, W) to the same shape."""

    def __init__(self, width: int, heads: int, transformers: int, mid: int, depth: int) -> None:
        super().__init__()
        self.fsau = FSAU(width, mid, depth)
        self.transformers = nn.Sequential(*(TransformerBlock(width, heads) for _ in range(transformers)))

    def forward(self, x: Tensor) -> Tensor:
        """Add to x what the two make of it, one after the other."""
        return x + self.transformers(self.fsau(x))


class FSAU(nn.Module):
    """Facial structure attention: refinement, spatial attention, refinement; (N, w, H, W) to the same shape. *"""

    def __init__(self, width: int, mid: int, depth: int) -> None:
        super().__init__()
        self.first = Refinement(width)
        self.attention = Hourglass(width, mid, depth)
        self.last = Refinement(width)

    def forward(self, x: Tensor) -> Tensor:
        """Return the refined feature."""
        return self.last(self.attention(self.first(x)))


class FRM(nn.Module):
    """Feature refinement: (N, w, H, W) to the same shape.

    FSAU, then FEU, which enhances low and high frequencies apart. * The low frequencies are the means of 2x2 pixels,
    the high ones what they lack. Both go twice through a refinement of their own, between them once through their
    mixture; the gate has no sigmoid; the last refinement is the FSAU's.
    """

    def __init__(self, width: int, mid: int) -> None:
        super().__init__()
        self.fsau = FSAU(width, mid, FRM_DEPTH)
        self.pool = nn.AvgPool2d(2)
        self.low, self.high = Refinement(width), Refinement(width)
        self.mix = nn.Conv2d(2 * width, width, 1)
        self.gate = nn.Conv2d(width, width, 1)
        self.join = nn.Sequential(nn.Conv2d(2 * width, width, 1, bias=False), nn.ReLU())
        self.scales = nn.Parameter(torch.full((2, 1), 0.5))

    def forward(self, x: Tensor) -> Tensor:
        """Add to x its enhanced feature."""
        y = self.fsau(x)
        size, (one, two) = y.shape[-2:], self.scales
        coarse = self.pool(y)
        low, high = self.low(coarse), self.high(y - enlarged(coarse, size))
        high = self.high(self.mix(torch.cat([enlarged(low, size) * one, high * two], dim=1)))
        low = enlarged(self.low(low), size)
        joined = self.join(torch.cat([low * two, high * one], dim=1))
        return x + self.fsau.last(joined + y * self.gate(y))


class MFFU(nn.Module):
    """Multi-scale feature fusion: features that were brought to one grid, (N, ..., H, W), to (N, w, H, W).

    They are a decoder's feature and the encoder's of all scales. * A 3x3 convolution of them, then channel attention.
    """

    def __init__(self, cin: int, width: int) -> None:
        super().__init__()
        self.mix = nn.Conv2d(cin, width, 3, padding=1)
        self.attention = ChannelGate(width)

    def forward(self, *features: Tensor) -> Tensor:
        """Return the fused feature."""
        return self.attention(self.mix(torch.cat(features, dim=1)))


class Refinement(nn.Module):
    """What FSAU, FEU and FRM are made of: (N, w, H, W) to the same shape.

    * Two pairs of convolutions, a 1x1 mixture of what both return, channel attention, a 3x3 convolution; every sum has
    learned weights, which start at 1.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.pairs = nn.ModuleList((Pair(width), Pair(width)))
        self.mix = nn.Sequential(nn.Conv2d(2 * width, width, 1, bias=False), nn.ReLU())
        self.attention = ChannelGate(width)
        self.out = nn.Sequential(nn.Conv2d(width, width, 3, padding=1, bias=False), nn.ReLU())
        self.scales = nn.Parameter(torch.ones(4, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Add to x what its two pairs find."""
        two, one, kept, added = self.scales
        first = self.pairs[0](x)
        second = self.pairs[1](first)
        y = self.out(self.attention(self.mix(torch.cat([second * two, first * one], dim=1))))
        return x * kept + y * added


class Pair(nn.Module):
    """Two 3x3 convolutions of half the width between them, weighed against their input: (N, w, H, W) to the same. *"""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, width // 2, 3, padding=1),
            nn.PReLU(width // 2),
            nn.Conv2d(width // 2, width, 3, padding=1),
        )
        self.scales = nn.Parameter(torch.ones(2, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Return the weighted sum."""
        kept, added = self.scales
        return x * kept + self.body(x) * added


class Hourglass(nn.Module):
    """Spatial attention of SPARNet's kind: (N, w, H, W) to the same shape, scaled by one map in (0, 1).

    Each level keeps a skip, halves the grid, and doubles it again; level 0 is the innermost. * Before the map, channel
    attention and the input, brought to the hourglass's width. Convolutions reflect the grid at its border.
    """

    def __init__(self, width: int, mid: int, depth: int) -> None:
        super().__init__()
        widths = [mid] * (depth - 1) + [width]
        self.skip = nn.ModuleList(ReflectedConv(w, mid) for w in widths)
        self.down = nn.ModuleList(ReflectedConv(w, mid, stride=2) for w in widths)
        self.inner = ReflectedConv(mid, mid)
        self.up = nn.ModuleList(ReflectedConv(mid, mid) for _ in widths)
        self.attention = ChannelGate(mid)
        self.match = nn.Identity() if width == mid else nn.Conv2d(width, mid, 1)
        self.out = nn.Conv2d(mid, 1, 3, padding=1, padding_mode="reflect")

    def forward(self, x: Tensor) -> Tensor:
        """Scale x by the map that its hourglass draws."""
        skips, y = [], x
        for level in reversed(range(len(self.up))):
            skips.append(self.skip[level](y))
            y = self.down[level](y)
        y = self.inner(y)
        for up in self.up:
            skip = skips.pop()
            # The last row or column of an enlarged grid is one too many where the grid of the skip is odd.
            grown = up(nn.functional.interpolate(y, scale_factor=2.0, mode="nearest"))
            y = skip + grown[..., : skip.shape[-2], : skip.shape[-1]]
        return x * torch.sigmoid(self.out(self.attention(y) + self.match(x)))


class ReflectedConv(nn.Sequential):
    """3x3 convolution without bias, batch norm, PReLU: (N, cin, H, W) to (N, cout, H/stride, W/stride)."""

    def __init__(self, cin: int, cout: int, stride: int = 1) -> None:
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        layers["conv"] = nn.Conv2d(cin, cout, 3, stride, padding=1, bias=False, padding_mode="reflect")
        layers["norm"] = nn.BatchNorm2d(cout)
        layers["act"] = nn.PReLU(cout)
        super().__init__(layers)


class ChannelGate(nn.Module):
    """(N, w, H, W) to the same shape, each channel scaled by a number in (0, 1) that all channels' means decide."""

    def __init__(self, width: int) -> None:
        super().__init__()
        inner = max(1, width // REDUCTION)
        self.weigh = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(width, inner, 1), nn.ReLU(), nn.Conv2d(inner, width, 1), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        """Scale the channels of x."""
        return x * self.weigh(x)


class Down(nn.Sequential):
    """(N, cin, H, W) to (N, cout, H/2, W/2)."""

    def __init__(self, cin: int, cout: int) -> None:
        super().__init__(nn.Conv2d(cin, cout, 3, stride=2, padding=1, bias=False), *_following(cout))


class Up(nn.Sequential):
    """(N, cin, H, W) to (N, cout, 2H, 2W)."""

    def __init__(self, cin: int, cout: int) -> None:
        super().__init__(nn.ConvTranspose2d(cin, cout, 6, stride=2, padding=2, bias=False), *_following(cout))


def _following(width: int) -> Sequence[nn.Module]:
    """Return what comes after the convolution that changes the grid."""
    return nn.LeakyReLU(SLOPE), nn.Conv2d(width, width, 3, padding=1, bias=False), nn.LeakyReLU(SLOPE)


def enlarged(x: Tensor, size: Sequence[int]) -> Tensor:
    """Resize (N, w, h, w) bilinearly to (N, w, *size), corner pixels on corner pixels.

    Written as two products with constant matrices, because engines differ in resizing with aligned corners.
    """
    rows, columns = (
        torch.tensor(_bilinear(have, wanted), dtype=x.dtype, device=x.device)
        for have, wanted in zip(x.shape[-2:], size, strict=True)
    )
    return rows @ x @ columns.T


def _bilinear(have: int, wanted: int) -> NDArray[np.float64]:
    """Return the matrix (wanted, have) that resizes an axis, corner pixels on corner pixels."""
    place = np.linspace(0, have - 1, wanted)
    return np.maximum(0, 1 - np.abs(place[:, np.newaxis] - np.arange(have)))


register(
    ModelRecord(
        name="ctcnet",
        build=CTCNet,
        description="CNN-Transformer cooperation network",
        paper=PAPER,
        params=22.41,
        macs=47.23,
        counting="thop",
    )
)
