"""MFSPNet, the multi-scale feature fusion and structure-preserving network, and SPARNet, on which it builds.

D. Yang et al., "Multi-Scale Feature Fusion and Structure-Preserving Network for Face Super-Resolution", Appl. Sci.
2023, 13, 8928. SPARNet (C. Chen et al., "Learning Spatial Attention for Face Super-Resolution", TIP 2020) is the same
code with ESEM, PA and FEM off. The file reads like the paper's section 3, top down. What is marked * is our choice
where the paper is silent, with its reason.

* Padding: the convolutions that stem from SPARNet take its reflection padding, or zeros for deployment: reflection
costs some 150 Pad nodes. What this paper adds (ESEM, FEM, PA) always pads with zeros, PyTorch's default. Weights that
were trained with one padding are to be deployed with the same one.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import Literal

import torch
from torch import Tensor, nn

from fsr_deploy.errors import UsageError
from fsr_deploy.models.pyramid_attention import PA
from fsr_deploy.models.registry import ModelRecord, register

PAPER = "Yang et al., Appl. Sci. 2023, 13, 8928"
SPARNET_PAPER = "Chen et al., TIP 2020, doi 10.1109/TIP.2020.3043093"
SLOPE = 0.2
HOURGLASS_WIDTH = 64
BOTTOM_GRID = 4

Padding = Literal["reflect", "zeros"]
Scale = Literal["down", "same", "up"]


class MFSPNet(nn.Module):
    """The whole network: three MSRBs down to the LR grid, ``blocks`` there, PA, and three FEM + MSRB up again.

    Maps (N, 3, H, W) float RGB in [-1, 1], the bicubically upsampled LR face, to the SR face of the same shape and
    range, H = W = 8 ``lr_size``. ``esem``, ``pa`` and ``fem`` switch the three parts of Table 1; without them this is
    SPARNet. ``width`` are the channels at full size; the coarser grids have 2, 4 and 4 times as many.

    The hourglasses' bottom is a 4x4 grid whatever the size: another ``lr_size`` is a network with other weights.
    Raises UsageError for a padding it does not know and an ``lr_size`` that is not a power of two from 8 on.
    * Ten blocks at the LR grid, as in SPARNet: the paper gives no number.
    """

    def __init__(
        self,
        esem: bool = True,
        pa: bool = True,
        fem: bool = True,
        padding: Padding = "reflect",
        lr_size: int = 16,
        width: int = 32,
        blocks: int = 10,
    ) -> None:
        super().__init__()
        if padding not in ("reflect", "zeros"):
            raise UsageError(f"padding is reflect or zeros, not {padding!r}")
        if lr_size < 8 or lr_size & (lr_size - 1):
            raise UsageError(f"MFSPNet and SPARNet take LR faces of 8, 16, 32, ... pixels a side, not {lr_size}")
        self.size = 8 * lr_size
        widths = (width, 2 * width, 4 * width, 4 * width)
        grids = (8, 4, 2, 1)  # in LR grids

        def block(source: int, target: int, scale: Scale) -> MSRB:
            depth = int(math.log2(grids[target] * lr_size / BOTTOM_GRID))
            return MSRB(widths[source], widths[target], depth, scale, esem, padding)

        self.head = _convolution(3, width, padding)
        self.down = nn.ModuleList(block(i, i + 1, "down") for i in range(3))
        self.body = nn.Sequential(*(block(3, 3, "same") for _ in range(blocks)))
        self.pa = PA(widths[3], lr_size) if pa else nn.Identity()
        self.fem = nn.ModuleList(FEM(widths[i], grids[i], widths[1:], grids[1:]) for i in (3, 2, 1) if fem)
        self.up = nn.ModuleList(block(i, i - 1, "up") for i in (3, 2, 1))
        self.tail = _convolution(width, 3, padding)

    def forward(self, x: Tensor) -> Tensor:
        """Return the SR face, (N, 3, H, W) like the input; raises ValueError for another size than 8 ``lr_size``."""
        if x.shape[-2:] != (self.size, self.size):
            raise ValueError(f"this network works on {self.size}x{self.size} faces, not {tuple(x.shape[-2:])}")
        features = []  # the paper's F1, F2, F3
        y = self.head(x)
        for down in self.down:
            features.append(y := down(y))
        y = self.pa(self.body(y))
        for i, up in enumerate(self.up):
            y = up(self.fem[i](y, features) if self.fem else y)
        return self.tail(y)


class MSRB(nn.Module):
    """Multi-scale residual block: (N, cin, H, W) to (N, cout, H', W'), H' half, equal or double.

    A pre-activated residual branch f, weighed by an hourglass of ``depth`` and by ESEM. To go "down", its second
    convolution has stride 2; to go "up", its first works on the enlarged grid. The shortcut is a biased convolution
    where the shape changes. Without ``esem`` this is SPARNet's face attention unit to the bit.
    * The hourglass's one-channel logits and ESEM's feature are added and share one sigmoid that scales f: space and
    channels then weigh as one map, and what is left without ESEM is SPARNet's unit.
    """

    def __init__(self, cin: int, cout: int, depth: int, scale: Scale, esem: bool, padding: Padding) -> None:
        super().__init__()
        self.preact = nn.Sequential(OrderedDict(norm=nn.BatchNorm2d(cin), act=nn.LeakyReLU(SLOPE)))
        self.conv1 = ConvLayer(cin, cout, padding, "up" if scale == "up" else "same")
        self.conv2 = ConvLayer(cout, cout, padding, "down" if scale == "down" else "same", act=False)
        self.short: nn.Module = nn.Identity()
        if scale != "same" or cin != cout:
            self.short = ConvLayer(cin, cout, padding, scale, norm=False, act=False)
        self.hourglass = Hourglass(cout, depth, padding)
        self.esem = ESEM(cout) if esem else None

    def forward(self, x: Tensor) -> Tensor:
        """Return the shortcut plus the feature f, scaled by its attention."""
        f = self.conv2(self.conv1(self.preact(x)))
        logits = self.hourglass(f)
        if self.esem is not None:
            logits = logits + self.esem(f)
        return self.short(x) + f * torch.sigmoid(logits)


class Hourglass(nn.Module):
    """Spatial attention logits of SPARNet: (N, channels, H, W) to (N, 1, H, W), H = W = 4 * 2**depth.

    Each level keeps a skip, halves the grid, and doubles it again; level 0 is the innermost.
    """

    def __init__(self, channels: int, depth: int, padding: Padding) -> None:
        super().__init__()
        mid = HOURGLASS_WIDTH
        widths = [mid] * (depth - 1) + [channels]
        self.skip = nn.ModuleList(ConvLayer(width, mid, padding) for width in widths)
        self.down = nn.ModuleList(ConvLayer(width, mid, padding, "down") for width in widths)
        self.inner = ConvLayer(mid, mid, padding)
        self.up = nn.ModuleList(ConvLayer(mid, mid, padding, "up") for _ in widths)
        self.out = _convolution(mid, 1, padding)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of the map."""
        skips = []
        for level in reversed(range(len(self.up))):
            skips.append(self.skip[level](x))
            x = self.down[level](x)
        x = self.inner(x)
        for up in self.up:
            x = skips.pop() + up(x)
        return self.out(x)


class ConvLayer(nn.Sequential):
    """3x3 convolution with batch norm and leaky ReLU 0.2: (N, cin, H, W) to (N, cout, H', W').

    "up" enlarges the grid x2 (nearest) before the convolution, "down" gives the convolution stride 2. The convolution
    has a bias where no norm follows.
    """

    def __init__(
        self, cin: int, cout: int, padding: Padding, scale: Scale = "same", norm: bool = True, act: bool = True
    ) -> None:
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        if scale == "up":
            layers["enlarge"] = nn.Upsample(scale_factor=2)
        layers["conv"] = _convolution(cin, cout, padding, stride=2 if scale == "down" else 1, bias=not norm)
        if norm:
            layers["norm"] = nn.BatchNorm2d(cout)
        if act:
            layers["act"] = nn.LeakyReLU(SLOPE)
        super().__init__(layers)


class ESEM(nn.Module):
    """Enhanced structure extraction module, eq. 5: (N, C, H, W) to the same shape, C divisible by 4.

    With q = C/4, CCBs work on the first 3q channels, on the first 2q of the result and on the first q of that: the
    receptive field grows from one quarter of the channels to the next. Two 3x3 convolutions mix the quarters.
    * PReLU has one slope here and in CCB, PyTorch's default.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.quarter = channels // 4
        self.ccb = nn.ModuleList(CCB(count * self.quarter) for count in (3, 2, 1))
        self.mix = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1), nn.PReLU(), nn.Conv2d(channels, channels, 3, padding=1)
        )
        self.eca = ECA(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return the structure feature of x."""
        rests = []
        for ccb, count in zip(self.ccb, (3, 2, 1), strict=True):
            x, rest = x.split((count * self.quarter, self.quarter), dim=1)
            rests.append(rest)
            x = ccb(x)
        return self.eca(self.mix(torch.cat([x, *reversed(rests)], dim=1)))


class CCB(nn.Module):
    """Cross convolution block: x + ECA(Cross(PReLU(Cross(x)))), (N, C, H, W) to the same shape."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(Cross(channels), nn.PReLU(), Cross(channels), ECA(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Add to x the structure that the crosses find."""
        return x + self.body(x)


class Cross(nn.Module):
    """Cross convolution, eq. 6: a 1x3 and a 3x1 convolution, added, with one bias; (N, C, H, W) to the same shape."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.row = nn.Conv2d(channels, channels, (1, 3), padding=(0, 1))
        self.column = nn.Conv2d(channels, channels, (3, 1), padding=(1, 0), bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum of the horizontal and the vertical convolution."""
        return self.row(x) + self.column(x)


class ECA(nn.Module):
    """Efficient channel attention, eqs 7-8: (N, C, H, W) to the same shape, each channel scaled by a weight in (0, 1).

    The weight comes from the means of k neighbouring channels, k the odd number nearest to (log2 C + 1)/2, the larger
    one of two: 3 for 8 to 127 channels, 5 for 128.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        k = 2 * int((math.log2(channels) + 1) / 4) + 1
        self.conv = nn.Conv1d(1, 1, k, padding=k // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Scale the channels of x."""
        # Rows first: a sum over all 16384 positions can leave the range of half precision.
        means = x.mean(dim=3).mean(dim=2)
        weights = torch.sigmoid(self.conv(means.unsqueeze(1)))
        return x * weights.transpose(1, 2).unsqueeze(3)


class FEM(nn.Module):
    """Feature enhancement module, eqs 10-11: F (N, C, H, W) and the encoder's F1..F3 to (N, C, H, W).

    ``grid`` and ``grids`` are the sides of F and of F1..F3 in a common unit, ``channels`` those of F1..F3.
    R_i = H_p(F - align(F_i)) + F, where H_p is 3x3, leaky ReLU, 3x3, and align brings F_i to the grid and width of F:
    average pooling or nearest enlargement, with a 1x1 convolution on the smaller grid where the widths differ. ECA
    weighs the 1x1 mixture of R_1..3 before it is added to F.
    * The leaky ReLU has the slope 0.2 that it has everywhere else in the network.
    """

    def __init__(self, width: int, grid: int, channels: tuple[int, ...], grids: tuple[int, ...]) -> None:
        super().__init__()
        self.align = nn.ModuleList(
            _align(cin, width, source, grid) for cin, source in zip(channels, grids, strict=True)
        )
        self.high = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, width, 3, padding=1), nn.LeakyReLU(SLOPE), nn.Conv2d(width, width, 3, padding=1)
            )
            for _ in channels
        )
        self.mix = nn.Conv2d(len(channels) * width, width, 1)
        self.eca = ECA(width)

    def forward(self, x: Tensor, features: list[Tensor]) -> Tensor:
        """Add to x what the features of the encoder have and it lacks."""
        residuals = [
            high(x - align(f)) + x for high, align, f in zip(self.high, self.align, features, strict=True)
        ]  # eq. 10
        return x + self.eca(self.mix(torch.cat(residuals, dim=1)))  # eq. 11


def _align(cin: int, cout: int, source: int, target: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    if source > target:
        layers.append(nn.AvgPool2d(source // target))
    if cin != cout:
        layers.append(nn.Conv2d(cin, cout, 1))
    if source < target:
        layers.append(nn.Upsample(scale_factor=target // source))
    return nn.Sequential(*layers)


def _convolution(cin: int, cout: int, padding: Padding, stride: int = 1, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(cin, cout, 3, stride, padding=1, bias=bias, padding_mode=padding)


def _register(name: str, description: str, parts: str, params: float, macs: float) -> None:
    register(
        ModelRecord(
            name=name,
            build=MFSPNet,
            description=description,
            paper=PAPER if parts else SPARNET_PAPER,
            options={part: part in parts.split() for part in ("esem", "pa", "fem")},
            params=params,
            macs=macs,
            size_option="lr_size",
        )
    )


# Table 1, its models 1 to 8.
_register("sparnet", "spatial attention residual network", "", 10.52, 7.13)
_register("mfspnet.fem", "SPARNet with the feature enhancement modules", "fem", 12.66, 9.30)
_register("mfspnet.pa", "SPARNet with pyramid attention", "pa", 10.55, 7.53)
_register("mfspnet.esem", "SPARNet with the structure extraction modules", "esem", 16.86, 10.84)
_register("mfspnet.esem-pa", "MFSPNet without the feature enhancement modules", "esem pa", 16.89, 11.24)
_register("mfspnet.esem-fem", "MFSPNet without pyramid attention", "esem fem", 19.00, 13.01)
_register("mfspnet.pa-fem", "MFSPNet without the structure extraction modules", "pa fem", 12.69, 9.70)
_register("mfspnet", "multi-scale feature fusion and structure-preserving network", "esem pa fem", 19.03, 13.41)
