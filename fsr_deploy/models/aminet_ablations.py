"""The networks of AMINet's ablation studies, Tables I-VI: AMINet with one block left out or replaced.

Each is a factory passed to AMINet and one line in the table at the end; the blocks that only ablations need stand
above it. What is marked * is our choice where the paper leaves a variant open.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from fsr_deploy.models.aminet import EDFF, LGFI, PAPER, RDFE, SA, SKAF, AMINet, LayerNorm, channel_max, channel_mean
from fsr_deploy.models.mfspnet import MFSPNet, Padding
from fsr_deploy.models.registry import ModelRecord, register


class PlainSum(nn.Module):
    """Stands in for SKAF: g + l unweighted, two weights of 1."""

    def __init__(self, width: int) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> tuple[float, float]:
        """Return the two weights."""
        return 1.0, 1.0


class NoAttentionUnit(nn.Module):
    """Stands in for RDFE's attention unit: the map m is 1."""

    def __init__(self, cin: int, width: int) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> float:
        """Return the map."""
        return 1.0


class FFN(nn.Sequential):
    """Feed-forward network in place of RDFE: (N, w, H, W) to the same shape.

    * Two 3x3 convolutions with GELU between them, twice as wide inside: nearest to the paper's count.
    """

    def __init__(self, width: int, mid: int) -> None:
        super().__init__(
            nn.Conv2d(width, 2 * width, 3, padding=1), nn.GELU(), nn.Conv2d(2 * width, width, 3, padding=1)
        )


class GDFN(nn.Module):
    """Restormer's gated depthwise feed-forward network: (N, w, H, W) to the same shape; expansion 2.66, no biases."""

    def __init__(self, width: int) -> None:
        super().__init__()
        hidden = int(2.66 * width)
        self.expand = nn.Conv2d(width, 2 * hidden, 1, bias=False)
        self.depthwise = nn.Conv2d(2 * hidden, 2 * hidden, 3, padding=1, groups=2 * hidden, bias=False)
        self.project = nn.Conv2d(hidden, width, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Gate one half of the expanded channels by the other."""
        gate, value = self.depthwise(self.expand(x)).chunk(2, dim=1)
        return self.project(F.gelu(gate) * value)


class TransformerBlock(nn.Module):
    """Restormer's block, channel attention then GDFN, each normalised and residual: (N, w, H, W) to the same shape."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = LayerNorm(width)
        self.attention = SA(width, heads)
        self.norm2 = LayerNorm(width)
        self.feed_forward = GDFN(width)

    def forward(self, x: Tensor) -> Tensor:
        """Attend, then transform each pixel."""
        x = x + self.attention(self.norm1(x))
        return x + self.feed_forward(self.norm2(x))


class Transformers(nn.Sequential):
    """Serial transformer blocks in place of one LGFI. * Six: nearest to the paper's count."""

    def __init__(self, width: int, heads: int, mid: int) -> None:
        super().__init__(*(TransformerBlock(width, heads) for _ in range(6)))


class SPARNetEDFF(MFSPNet):
    """SPARNet with EDFF: each decoder feature is fused with the encoder's of its grid; faces and errors as MFSPNet's.

    * The fusion comes after each up-sampling unit, as in AMINet; the largest grid's encoder feature is the head's.
    """

    def __init__(self, padding: Padding = "reflect", lr_size: int = 16, width: int = 32, blocks: int = 10) -> None:
        super().__init__(False, False, False, padding, lr_size, width, blocks)
        self.fusions = nn.ModuleList(EDFF(w) for w in (4 * width, 2 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        """Return the SR face, (N, 3, H, W) like the input."""
        skips = []
        y = self.head(x)
        for down in self.down:
            skips.append(y)
            y = down(y)
        y = self.body(y)
        for up, fuse in zip(self.up, self.fusions, strict=True):
            y = fuse(skips.pop(), up(y))
        return self.tail(y)


def aminet_with(**blocks: Any) -> partial[AMINet]:
    """Return a builder of AMINet whose LGFI blocks take the given factories (``attention``, ``local``, ``fusion``)."""
    return partial(AMINet, block=partial(LGFI, **blocks))


def rdfe_with(**options: Any) -> partial[AMINet]:
    """Return a builder of AMINet whose LGFI blocks have another RDFE."""
    return aminet_with(local=partial(RDFE, **options))


def skaf_with(**options: Any) -> partial[AMINet]:
    """Return a builder of AMINet whose LGFI blocks have another SKAF.

    * EDFF keeps its own SKAF, as in the paper's count without SKAF. A branch left out is not widened to make up for
    it; a pooling left out leaves one map, which weighs both features.
    """
    return aminet_with(fusion=partial(SKAF, **options))


# tag, what is different, builder, parameters (M) and multiply-accumulates (G) here, published parameters (M)
ABLATIONS: tuple[tuple[str, str, Any, float, float, float | None], ...] = (
    ("no-sa", "without self-attention: g = LN(x)", aminet_with(attention=nn.Identity), 12.69, 14.38, 12.3),
    ("no-rdfe", "without RDFE: l = LN(x)", aminet_with(local=nn.Identity), 6.96, 7.19, 7.2),
    ("no-skaf", "g + l unweighted in LGFI", aminet_with(fusion=PlainSum), 8.31, 11.03, 8.21),
    ("transformer", "six Restormer blocks instead of LGFI", partial(AMINet, block=Transformers), 11.43, 11.07, 11.32),
    ("ffn", "a feed-forward network instead of RDFE", aminet_with(local=FFN), 11.76, 10.89, 12.11),
    ("single3", "RDFE with its 3x3 path alone", rdfe_with(kernels=(3,)), 12.58, 14.17, None),
    ("single5", "RDFE with its 5x5 path alone", rdfe_with(kernels=(5,)), 12.61, 14.22, None),
    ("single7", "RDFE with its 7x7 path alone", rdfe_with(kernels=(7,)), 12.65, 14.31, None),
    ("no-au", "RDFE without its attention unit", rdfe_with(unit=NoAttentionUnit), 12.84, 14.53, None),
    ("no-frm", "RDFE without FRM", rdfe_with(refine=nn.Identity), 7.90, 8.10, None),
    ("skaf5", "SKAF with its 5x5 branch alone", skaf_with(kernels=(5,)), 9.98, 12.32, None),
    ("skaf7", "SKAF with its 7x7 branch alone", skaf_with(kernels=(7,)), 11.58, 13.55, None),
    ("skaf-mean", "SKAF with mean pooling alone", skaf_with(pools=(channel_mean, channel_mean)), 13.24, 14.83, None),
    ("skaf-max", "SKAF with max pooling alone", skaf_with(pools=(channel_max, channel_max)), 13.24, 14.83, None),
)
for tag, difference, builder, params, macs, published in ABLATIONS:
    register(
        ModelRecord(
            name=f"aminet.{tag}",
            build=builder,
            description=difference,
            paper=PAPER,
            options={"channels": 28},
            params=params,
            macs=macs,
            published_params=published,
            counting="thop",
        )
    )
register(
    ModelRecord(
        "sparnet.edff", SPARNetEDFF, "SPARNet with AMINet's EDFF", PAPER, {}, 11.36, 9.09, size_option="lr_size"
    )
)
