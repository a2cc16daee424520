"""Channels to pixels, for ONNX Runtime on a CPU."""

from __future__ import annotations

from torch import Tensor, nn

from fsr_deploy.models.sameness import computes_as


def pixel_shuffle(module: nn.Module) -> nn.Module | None:
    """Replace PixelShuffle by Shuffle."""
    if not isinstance(module, nn.PixelShuffle) or not computes_as(module, nn.PixelShuffle):
        return None
    return Shuffle(module.upscale_factor)


class Shuffle(nn.Module):
    """PixelShuffle, (N, c r r, H, W) to (N, c, r H, r W), in two steps: within rows, then rows.

    DepthToSpace moves all pixels one by one; the second step here moves whole rows.
    """

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    def forward(self, x: Tensor) -> Tensor:
        """Return the enlarged grid."""
        r, (channels, height, width) = self.times, x.shape[1:]
        within = x.reshape(-1, r, r, height, width).permute(0, 1, 3, 4, 2)
        rows = within.reshape(-1, r, height, width * r).transpose(1, 2)
        return rows.reshape(-1, channels // (r * r), r * height, r * width)
