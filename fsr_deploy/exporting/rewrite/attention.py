"""SA for deployment: no F.normalize, and FP32 where half precision would be wrong without a NaN."""

from __future__ import annotations

from torch import Tensor, nn

from fsr_deploy.exporting.rewrite.convolutions import convolution
from fsr_deploy.models.aminet import SA
from fsr_deploy.models.sameness import computes_as

FLOOR = 1e-12  # F.normalize's eps


class AttentionMatrix(nn.Module):
    """The attention between channels, eq. 4: Q and K, (N, heads, w/heads, HW) each, to (N, heads, w/heads, w/heads).

    The norms divide the small matrix of products instead of Q and K themselves, which is the same. In FP16 the raw
    products would overflow: everything here is FP32, which holds 16384 times 65504 squared. In a half-precision
    network Q and K come in rounded to half, and their products are exact.
    """

    fp32_reason = "sums of squares over all positions overflow half precision at 65504, without a NaN"

    def __init__(self, tau: nn.Parameter) -> None:
        super().__init__()
        self.tau = tau

    def forward(self, q: Tensor, k: Tensor) -> Tensor:
        """Return softmax(tau * cos(q, k)) over k's channels."""
        norms = _norm(q) * _norm(k).transpose(-2, -1)
        return (q @ k.transpose(-2, -1) / norms * self.tau).softmax(dim=-1)


def _norm(x: Tensor) -> Tensor:
    # Not linalg.vector_norm: ONNX Runtime's ReduceL2 takes three times as long as a product and a sum.
    return (x * x).sum(dim=-1, keepdim=True).sqrt().clamp_min(FLOOR)


class Together(nn.Module):
    """Q, K and V, (N, w, H, W) each, of one convolution after the other on all of them."""

    def __init__(self, attention: SA) -> None:
        super().__init__()
        self.pointwise = attention.qkv
        self.depthwise = attention.depthwise

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return Q, K and V of (N, w, H, W)."""
        return self.depthwise(self.pointwise(x)).chunk(3, dim=1)


class Apart(nn.Module):
    """Q, K and V, (N, w, H, W) each, of convolutions of their own: no copies to take them apart."""

    def __init__(self, together: Together) -> None:
        super().__init__()
        pairs = zip(together.pointwise.weight.chunk(3), together.depthwise.weight.chunk(3), strict=True)
        self.parts = nn.ModuleList(
            nn.Sequential(convolution(point), convolution(depth, padding=1, groups=len(depth)))
            for point, depth in pairs
        )

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return Q, K and V of (N, w, H, W)."""
        return tuple(part(x) for part in self.parts)


class ChannelAttention(nn.Module):
    """SA, eqs 1-5: (N, w, H, W) to the same shape."""

    def __init__(self, attention: SA) -> None:
        super().__init__()
        self.heads = attention.heads
        self.qkv: Together | Apart = Together(attention)
        self.matrix = AttentionMatrix(attention.tau)
        self.project = attention.project

    def forward(self, x: Tensor) -> Tensor:
        """Attend between the channels of x."""
        q, k, v = (part.unflatten(1, (self.heads, -1)).flatten(3) for part in self.qkv(x))
        attended = self.matrix(q, k) @ v
        return self.project(attended.flatten(1, 2).unflatten(2, x.shape[-2:]))


def channel_attention(module: nn.Module) -> nn.Module | None:
    """Replace SA by ChannelAttention."""
    return ChannelAttention(module) if isinstance(module, SA) and computes_as(module, SA) else None
