"""AMINet, the attention-guided multiscale interaction network for face super-resolution.

X. Wan et al., "Attention-Guided Multiscale Interaction Network for Face Super-Resolution", IEEE Transactions on
Systems, Man, and Cybernetics: Systems, 2025, doi 10.1109/TSMC.2025.3605649. The file reads like the paper's section
III, top down. The paper leaves some structure open or contradicts itself: what is marked * is our choice, with its
reason.

Blocks are passed as factories (``block``, ``attention``, ``local``, ...), so that an ablation is another factory and
not another branch in this file: see aminet_ablations.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fsr_deploy.errors import UsageError
from fsr_deploy.models.registry import ModelRecord, register

PAPER = "Wan et al., IEEE TSMC: Systems 2025, doi 10.1109/TSMC.2025.3605649"
SLOPE = 0.2


class AMINet(nn.Module):
    """The whole network: a U-shaped encoder and decoder of LGFI blocks, their skips fused by EDFF.

    Maps (N, 3, H, W) float RGB in [-1, 1], the bicubically upsampled LR face, to the SR face of the same shape and
    range; H and W are multiples of 8. ``channels`` is C: the stages are C, 2C, 4C and 8C wide. ``heads`` are the
    attention heads of the four widths; UsageError where they do not divide them. ``mid`` is the hourglass width of the
    FRMs. ``block(width, heads, mid)`` makes the block of each stage.

    * Down is a 3x3 convolution of stride 2 that doubles the width, Up a transposed 4x4 convolution that halves it,
    both biased and without an activation: with the paper's counts, the closest of the plain structures.
    """

    def __init__(
        self,
        channels: int = 28,
        heads: Sequence[int] = (1, 2, 4, 8),
        mid: int = 64,
        block: Callable[[int, int, int], nn.Module] | None = None,
    ) -> None:
        super().__init__()
        make = block or LGFI
        widths = [channels << level for level in range(4)]
        self.head = nn.Conv2d(3, channels, 3, padding=1)
        self.encoders = nn.ModuleList(make(w, h, mid) for w, h in zip(widths[:3], heads[:3], strict=True))
        self.downs = nn.ModuleList(nn.Conv2d(w, 2 * w, 3, stride=2, padding=1) for w in widths[:3])
        self.middle = nn.Sequential(*(make(widths[3], heads[3], mid) for _ in range(2)))
        self.ups = nn.ModuleList(nn.ConvTranspose2d(2 * w, w, 4, stride=2, padding=1) for w in widths[2::-1])
        self.fusions = nn.ModuleList(EDFF(w) for w in widths[2::-1])
        self.decoders = nn.ModuleList(make(w, h, mid) for w, h in zip(widths[2::-1], heads[2::-1], strict=True))
        self.tail = nn.Conv2d(channels, 3, 3, padding=1)

    def features(self, x: Tensor) -> list[Tensor]:
        """Return the paper's F1..F7: after the three downs, the middle and the three decoder stages.

        For (N, 3, H, W) they are (N, 2C, H/2, W/2), (N, 4C, H/4, W/4), twice (N, 8C, H/8, W/8), (N, 4C, H/4, W/4),
        (N, 2C, H/2, W/2) and (N, C, H, W). Raises ValueError where H or W is not a multiple of 8.
        """
        if x.shape[-2] % 8 or x.shape[-1] % 8:
            raise ValueError(f"AMINet works on sides that are multiples of 8, not on {x.shape[-2]}x{x.shape[-1]}")
        features, skips = [], []
        y = self.head(x)
        for encoder, down in zip(self.encoders, self.downs, strict=True):
            skips.append(encoder(y))
            features.append(y := down(skips[-1]))
        features.append(y := self.middle(y))
        for up, fuse, decoder in zip(self.ups, self.fusions, self.decoders, strict=True):
            features.append(y := decoder(fuse(skips.pop(), up(y))))
        return features

    def forward(self, x: Tensor) -> Tensor:
        """Return the SR face, (N, 3, H, W) like the input: the input plus what the last feature adds."""
        return x + self.tail(self.features(x)[-1])


class LGFI(nn.Module):
    """Local and global feature interaction: (N, w, H, W) to the same shape.

    SA sees the whole face, RDFE its local detail at three scales; SKAF weighs the one against the other.
    * SKAF looks at the sum g + l, and its two maps weigh g and l before the residual sum: left open by the paper, and
    nearest to its count without SKAF.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        mid: int = 64,
        attention: Callable[[int, int], nn.Module] | None = None,
        local: Callable[[int, int], nn.Module] | None = None,
        fusion: Callable[[int], nn.Module] | None = None,
    ) -> None:
        super().__init__()
        self.norm = LayerNorm(width)
        self.attention = (attention or SA)(width, heads)
        self.local = (local or RDFE)(width, mid)
        self.fusion = (fusion or SKAF)(width)

    def forward(self, x: Tensor) -> Tensor:
        """Add to x what SA and RDFE find in it, each under its own weight map."""
        n = self.norm(x)
        g, l = self.attention(n), self.local(n)  # noqa: E741 - the paper's letters: global and local
        a, b = self.fusion(g + l)
        return x + a * g + b * l


class SA(nn.Module):
    """Self-attention between channels, eqs 1-5: (N, w, H, W) to the same shape, w divisible by ``heads``.

    Q, K and V are 1x1 and 3x3 depthwise convolutions without bias; each head attends from its w/heads channels to
    themselves, so that the cost grows with HW and not with its square.
    * Q and K are L2-normalised over the HW positions and the logits scaled by a learned tau per head that starts at 1
    (as in Restormer). The paper writes 1/sqrt(d): raw products over 16384 positions saturate the softmax and overflow
    half precision.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise UsageError(f"{width} channels cannot be shared by {heads} attention heads")
        self.heads = heads
        self.qkv = nn.Conv2d(width, 3 * width, 1, bias=False)
        self.depthwise = nn.Conv2d(3 * width, 3 * width, 3, padding=1, groups=3 * width, bias=False)
        self.tau = nn.Parameter(torch.ones(heads, 1, 1))
        self.project = nn.Conv2d(width, width, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Attend between the channels of x."""
        q, k, v = (
            part.unflatten(1, (self.heads, -1)).flatten(3)  # (N, heads, w/heads, HW)
            for part in self.depthwise(self.qkv(x)).chunk(3, dim=1)
        )
        logits = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-2, -1) * self.tau
        attended = logits.softmax(dim=-1) @ v
        return self.project(attended.flatten(1, 2).unflatten(2, x.shape[-2:]))


class RDFE(nn.Module):
    """Residual depth feature extraction, eqs 6-10 (printed as RDFF too): (N, w, H, W) to the same shape.

    Depthwise convolutions of three kernel sizes, one attention map over them, a second set of the same sizes, their
    1x1 mixture plus the input, refined by FRM.
    * The attention unit is a 1x1 convolution of all three and a sigmoid, one map per channel that all three share: the
    smallest unit that sees every scale; the paper leaves its layers open.
    """

    def __init__(
        self,
        width: int,
        mid: int = 64,
        kernels: Sequence[int] = (3, 5, 7),
        unit: Callable[[int, int], nn.Module] | None = None,
        refine: Callable[[int, int], nn.Module] | None = None,
    ) -> None:
        super().__init__()
        self.first = nn.ModuleList(nn.Conv2d(width, width, k, padding=k // 2, groups=width) for k in kernels)
        self.unit = (unit or AttentionUnit)(len(kernels) * width, width)
        self.second = nn.ModuleList(nn.Conv2d(width, width, k, padding=k // 2, groups=width) for k in kernels)
        self.mix = nn.Conv2d(len(kernels) * width, width, 1)
        self.refine = (refine or FRM)(width, mid)

    def forward(self, x: Tensor) -> Tensor:
        """Extract local detail at the scales of the kernels."""
        scales = [conv(x) for conv in self.first]
        m = self.unit(torch.cat(scales, dim=1))
        scales = [conv(f * m) for conv, f in zip(self.second, scales, strict=True)]
        return self.refine(self.mix(torch.cat(scales, dim=1)) + x)


class AttentionUnit(nn.Sequential):
    """RDFE's attention map m: (N, cin, H, W) to (N, w, H, W) in (0, 1). * See RDFE."""

    def __init__(self, cin: int, width: int) -> None:
        super().__init__(nn.Conv2d(cin, width, 1), nn.Sigmoid())


class FRM(nn.Module):
    """Feature refinement: (N, w, H, W) to the same shape.

    * The paper leaves its layers open; this is the pre-activation residual unit of SPARNet, with the hourglass as its
    last step.
    """

    def __init__(self, width: int, mid: int = 64) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.BatchNorm2d(width),
            nn.LeakyReLU(SLOPE),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.LeakyReLU(SLOPE),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            Hourglass(width, mid),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Add the refined feature to x."""
        return x + self.body(x)


class Hourglass(nn.Module):
    """Spatial attention by an hourglass of depth 2: (N, w, H, W) to the same shape, scaled by a map in (0, 1).

    * Left open by the paper: depth 2 and the width ``mid`` = 64 are of the size that SPARNet uses, the map has one
    channel per input channel; together they come nearest to the paper's count without RDFE.
    """

    def __init__(self, width: int, mid: int = 64) -> None:
        super().__init__()
        self.skip0 = ConvBlock(width, mid)
        self.down0 = ConvBlock(width, mid, stride=2)
        self.skip1 = ConvBlock(mid, mid)
        self.down1 = ConvBlock(mid, mid, stride=2)
        self.bottom = ConvBlock(mid, mid)
        self.up1 = ConvBlock(mid, mid)
        self.up0 = ConvBlock(mid, mid)
        self.out = nn.Conv2d(mid, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Scale x by the map that its hourglass draws."""
        y = self.down0(x)
        z = self.bottom(self.down1(y))
        y = self.skip1(y) + self.up1(_double(z, like=y))
        y = self.skip0(x) + self.up0(_double(y, like=x))
        return x * torch.sigmoid(self.out(y))


class ConvBlock(nn.Sequential):
    """3x3 convolution without bias, batch norm, leaky ReLU: (N, cin, H, W) to (N, cout, H/stride, W/stride)."""

    def __init__(self, cin: int, cout: int, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(cin, cout, 3, stride, padding=1, bias=False), nn.BatchNorm2d(cout), nn.LeakyReLU(SLOPE)
        )


class SKAF(nn.Module):
    """Selective kernel attention fusion, eqs 11-14: (N, w, H, W) to two weight maps (N, 1, H, W) in (0, 1).

    The first map, from the channels' mean, weighs the global or encoder feature; the second, from their maximum, the
    local or decoder feature. (The paper concatenates the two, applies the sigmoid and splits: the same thing.)
    * The convolutions are dense and halve the width: nearest to the paper's count without SKAF.
    """

    def __init__(
        self,
        width: int,
        kernels: Sequence[int] = (5, 7),
        pools: Sequence[Callable[[Tensor], Tensor]] | None = None,
    ) -> None:
        super().__init__()
        self.branches = nn.ModuleList(nn.Conv2d(width, width // 2, k, padding=k // 2) for k in kernels)
        self.pools = tuple(pools or (channel_mean, channel_max))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the two maps."""
        t = torch.cat([branch(x) for branch in self.branches], dim=1)
        return tuple(torch.sigmoid(pool(t)) for pool in self.pools)


class EDFF(nn.Module):
    """Encoder and decoder feature fusion, eqs 15-16: two (N, w, H, W) to one of the same shape."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(2 * width, width, 1)
        self.fusion = SKAF(width)

    def forward(self, encoder: Tensor, decoder: Tensor) -> Tensor:
        """Return the weighted sum of the encoder's skip and the upsampled decoder feature."""
        a, b = self.fusion(self.reduce(torch.cat([encoder, decoder], dim=1)))
        return encoder * a + decoder * b


class LayerNorm(nn.Module):
    """Layer norm over the channels at each pixel: (N, w, H, W) to the same shape.

    * eps 1e-5, PyTorch's default: the paper gives none.
    """

    def __init__(self, width: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise each pixel's channels to mean 0 and variance 1, then scale and shift them."""
        y = F.layer_norm(x.permute(0, 2, 3, 1), self.weight.shape, self.weight, self.bias, self.eps)
        return y.permute(0, 3, 1, 2)


def channel_mean(x: Tensor) -> Tensor:
    """Return the mean of the channels, (N, w, H, W) to (N, 1, H, W)."""
    return x.mean(dim=1, keepdim=True)


def channel_max(x: Tensor) -> Tensor:
    """Return the maximum of the channels, (N, w, H, W) to (N, 1, H, W)."""
    return x.amax(dim=1, keepdim=True)


def _double(x: Tensor, like: Tensor) -> Tensor:
    """Upsample by nearest x2; cut the last row or column where the grid of ``like`` is odd."""
    height, width = like.shape[-2:]
    y = F.interpolate(x, scale_factor=2.0, mode="nearest")
    return y if y.shape[-2:] == (height, width) else y[..., :height, :width]


register(
    ModelRecord(
        name="aminet",
        build=AMINet,
        description="attention-guided multiscale interaction network",
        paper=PAPER,
        options={"channels": 28},
        params=13.24,
        macs=14.83,
        counting="thop",
        published_params=12.62,
        published_macs=15.6,
    )
)
register(
    ModelRecord(
        name="aminet-s",
        build=AMINet,
        description="AMINet with 20 instead of 28 channels",
        paper=PAPER,
        options={"channels": 20},
        params=7.82,
        macs=9.39,
        counting="thop",
        published_params=8.2,
        published_macs=9.4,
    )
)
register(
    ModelRecord(
        name="aminet-tiny",
        build=AMINet,
        description="AMINet with 8 channels and narrow hourglasses, for demonstrations; not in the paper",
        paper=PAPER,
        options={"channels": 8, "mid": 16},
        params=1.08,
        macs=1.22,
        counting="thop",
    )
)
register(
    ModelRecord(
        name="amigan",
        build=AMINet,
        description="AMINet as the generator of adversarial training, eqs 17-22",
        paper=PAPER,
        options={"channels": 28},
        params=13.24,
        macs=14.83,
        counting="thop",
    )
)
