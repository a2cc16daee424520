"""Networks small enough to be exported in a test, one for each thing that can go wrong with a precision."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from fsr_deploy.models import registry
from fsr_deploy.models.aminet import EDFF, LGFI
from fsr_deploy.models.registry import ModelRecord


class Pixel(nn.Module):
    """A convolution and a skip; ``channels`` is its one option."""

    def __init__(self, channels: int = 4) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, channels, 3, padding=1), nn.ReLU(), nn.Conv2d(channels, 3, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class Parts(nn.Module):
    """One of each of AMINet's parts."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, 8, 3, padding=1)
        self.block = LGFI(8, heads=2, mid=8)
        self.down = nn.Conv2d(8, 16, 3, stride=2, padding=1)
        self.up = nn.ConvTranspose2d(16, 8, 4, stride=2, padding=1)
        self.fusion = EDFF(8)
        self.tail = nn.Conv2d(8, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.block(self.head(x))
        return x + self.tail(self.fusion(y, self.up(self.down(y))))


class Coarse(Pixel):
    """Loses bits in half precision: near 1000 its values are 0.5 apart, 64 levels."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + 1000.0 - 1000.0


class Overflowing(Pixel):
    """Overflows half precision, whose largest value is 65504, on its way."""

    def forward(self, x: Tensor) -> Tensor:
        return (super().forward(x) + 2.0) * 300.0 * 300.0 / 300.0 / 300.0 - 2.0


class Sized(Pixel):
    """Made for one LR size, with weights of its own."""

    def __init__(self, channels: int = 4, lr_size: int = 8) -> None:
        super().__init__(channels)
        self.position = nn.Parameter(torch.zeros(8 * lr_size, 8 * lr_size))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + self.position


def register(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register the networks for one test as "pixel", "coarse", "overflowing" and "sized"."""
    for builder in (Pixel, Coarse, Overflowing, Sized):
        name = builder.__name__.lower()
        size_option = "lr_size" if builder is Sized else None
        record = ModelRecord(name, builder, "for tests", "none", size_option=size_option)
        monkeypatch.setitem(registry._RECORDS, name, record)


def weights(**options: int) -> dict[str, Tensor]:
    """Return trained weights of Pixel."""
    torch.manual_seed(7)
    return Pixel(**options).state_dict()
