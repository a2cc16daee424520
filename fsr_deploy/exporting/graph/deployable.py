"""The deployable module: everything between an LR face's bytes and an SR face's bytes in one graph."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import torch
from torch import Tensor, nn

from fsr_deploy._util.sizes import Size
from fsr_deploy.bundle.info import Io
from fsr_deploy.exporting.graph.bicubic import Bicubic
from fsr_deploy.exporting.precision.cast import PrecisionMap, cast, precision_map
from fsr_deploy.exporting.rewrite.rewrites import Target, rewrite


class Deployable(nn.Module):
    """A network with its pre- and postprocessing inside.

    Maps (N, h, w, 3) uint8 RGB LR faces to (N, H, W, 3) uint8 RGB SR faces. The network takes them enlarged
    ``upsampling`` times by bicubic; 1 means unchanged. ``lr_size`` is (h, w), or the side of squares. The casts are
    first and last and the layout changes between them, because TensorRT accepts uint8 only at a graph's input and
    output.
    """

    def __init__(self, network: nn.Module, lr_size: Size, upsampling: int = 8) -> None:
        super().__init__()
        self.bicubic = Bicubic(lr_size, upsampling) if upsampling > 1 else nn.Identity()
        self.network = network

    def forward(self, lr: Tensor) -> Tensor:
        """Return the SR faces of a batch of LR faces."""
        levels = self.bicubic(lr.float().permute(0, 3, 1, 2))
        sr = self.network(levels / 127.5 - 1.0)
        levels = ((sr + 1.0) * 127.5).round().clamp(0.0, 255.0)
        return levels.permute(0, 2, 3, 1).to(torch.uint8)


def prepare(
    network: nn.Module,
    *,
    lr_size: Size,
    upsampling: int = 8,
    precision: str = "fp32",
    io: Io = "uint8",
    target: Target = "onnxruntime",
    keep: Iterable[str] | Mapping[str, str] = (),
    blocks: Collection[str] = (),
) -> tuple[nn.Module, PrecisionMap]:
    """Return the deployable form of a trained network, and which of its modules stay in FP32 and why.

    The network itself is left as it is; a copy in eval mode is rewritten for the target and cast to the precision.
    ``io`` "uint8" gives a Deployable, "float" the bare network: (N, 3, H, W) float32 in [-1, 1] to the same, also in
    FP16. ``keep`` and ``blocks`` are precision.cast's. Raises UsageError for names that do not exist.
    """
    rewritten = rewrite(network, target)
    kept = precision_map(rewritten, precision, keep, blocks, target)
    deployed = cast(rewritten, precision, keep, blocks, target)
    return (Deployable(deployed, lr_size, upsampling).eval() if io == "uint8" else deployed), kept
