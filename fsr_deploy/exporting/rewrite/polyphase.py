"""Upsampling x2 as four small convolutions (polyphase), one for each parity of output row and column."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fsr_deploy.exporting.rewrite.convolutions import convolution, is_chain, layers_of
from fsr_deploy.models.aminet import Hourglass
from fsr_deploy.models.sameness import computes_as


class Polyphase(nn.Module):
    """A transposed 4x4 convolution of stride 2 as four 2x2 convolutions, one for each parity of row and column.

    (N, cin, H, W) to (N, cout, 2H, 2W). Output pixel 2i + a takes the inputs i - 1 + a and i + a, and the kernel's rows
    3 - a and 1 - a. ``pointwise`` are activations that follow: before the phases are interleaved, engines fuse them.
    ``border`` says what is around the grid, F.pad's "constant" (zeros) or "replicate".
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, *pointwise: nn.Module, border: str = "constant") -> None:
        super().__init__()
        self.border = border
        kernel = weight.detach().transpose(0, 1).flip(2, 3)
        self.phases = nn.ModuleList(
            nn.Sequential(convolution(kernel[:, :, row::2, column::2], bias), *pointwise)
            for row in range(2)
            for column in range(2)
        )

    def forward(self, x: Tensor, skip: Tensor | None = None) -> Tensor:
        """Return the grown grid, plus ``skip`` of its shape, added while the channels are last."""
        y = self._interleaved(x)
        if skip is not None:
            y = y + skip.permute(0, 2, 3, 1)
        return y.permute(0, 3, 1, 2)

    def _interleaved(self, x: Tensor) -> Tensor:
        """Return the grown grid with the channels last, where neighbours are copied in one piece."""
        n, _, height, width = x.shape
        corners = [(1 - column, column, 1 - row, row) for row in range(2) for column in range(2)]
        phases = [
            phase(F.pad(x, corner, self.border)).permute(0, 2, 3, 1)
            for phase, corner in zip(self.phases, corners, strict=True)
        ]
        rows = [torch.cat(phases[:2], dim=3).flatten(2), torch.cat(phases[2:], dim=3).flatten(2)]
        return torch.cat(rows, dim=2).view(n, 2 * height, 2 * width, -1)


def polyphase_transposed(module: nn.Module) -> nn.Module | None:
    """Replace a transposed 4x4 convolution of stride 2 and padding 1 by Polyphase."""
    if not isinstance(module, nn.ConvTranspose2d) or not computes_as(module, nn.ConvTranspose2d):
        return None
    geometry = (module.kernel_size, module.stride, module.padding, module.output_padding, module.groups)
    if geometry != ((4, 4), (2, 2), (1, 1), (0, 0), 1):
        return None
    return Polyphase(module.weight, module.bias)


def polyphase_enlarged(module: nn.Module) -> nn.Module | None:
    """Replace a Sequential of nearest enlargement x2, a 3x3 convolution and leaky ReLUs by Polyphase."""
    layers = layers_of(module) if is_chain(module) else []
    match layers:
        case [nn.Upsample(scale_factor=2, mode="nearest"), nn.Conv2d() as layer, *others] if _same_size(layer):
            return enlarged(layer, *others) if all(isinstance(other, nn.LeakyReLU) for other in others) else None
    return None


def enlarged(layer: nn.Conv2d, *pointwise: nn.Module) -> Polyphase:
    """Return nearest enlargement x2, a 3x3 convolution and activations: 16 instead of 36 products per input pixel.

    Where the convolution reflects the enlarged grid at its border, the grid itself is replicated there.
    """
    weight = layer.weight.detach().transpose(0, 1)
    # Each input pixel is enlarged to 2x2: its kernel is the 3x3 one, turned, at four places.
    turned = weight.flip(2, 3)
    places = [F.pad(turned, (1 - j, j, 1 - i, i)) for i in range(2) for j in range(2)]
    border = "replicate" if layer.padding_mode == "reflect" else "constant"
    return Polyphase(torch.stack(places).sum(dim=0), layer.bias, *pointwise, border=border)


class PolyphaseHourglass(Hourglass):
    """Hourglass whose grids grow by Polyphase instead of an enlargement and a convolution of the larger grid."""

    def __init__(self, block: Hourglass) -> None:
        nn.Module.__init__(self)
        for name, child in block.named_children():
            self.add_module(name, child)
        self.grow1, self.grow0 = _grown(block.up1), _grown(block.up0)

    def forward(self, x: Tensor) -> Tensor:
        """Scale x by the map that its hourglass draws."""
        if x.shape[-2] % 4 or x.shape[-1] % 4:  # a grid that is cut after its enlargement
            return super().forward(x)
        y = self.down0(x)
        y = self.grow1(self.bottom(self.down1(y)), self.skip1(y))
        y = self.grow0(y, self.skip0(x))
        return x * torch.sigmoid(self.out(y))


def _grown(block: nn.Sequential) -> Polyphase:
    layer, *others = layers_of(block)
    assert isinstance(layer, nn.Conv2d)
    return enlarged(layer, *others)


def hourglass(module: nn.Module) -> nn.Module | None:
    """Replace Hourglass by PolyphaseHourglass."""
    return PolyphaseHourglass(module) if isinstance(module, Hourglass) and computes_as(module, Hourglass) else None


def _same_size(layer: nn.Conv2d) -> bool:
    if not computes_as(layer, nn.Conv2d):
        return False
    geometry = (layer.kernel_size, layer.stride, layer.padding, layer.groups)
    return geometry == ((3, 3), (1, 1), (1, 1), 1) and layer.padding_mode in ("zeros", "reflect")
