"""The colour space HVI (HVI-CIDNet, arXiv 2502.20272) without writing to chosen pixels, of which no graph has a number.

It is told by its name and attributes, because the library that holds it need not be installed.
"""

from __future__ import annotations

from math import pi
from typing import Any

import torch
from torch import Tensor, nn

EPSILON = 1e-8
REASON = "a sum with 1e-8, which half precision rounds to 0, is what it divides by"


def hvi(module: Any) -> nn.Module | None:
    """Replace the transform of HVI-CIDNet, which writes to the pixels of each sector of hues, by Hvi."""
    wanted = ("density_k", "gated", "gated2", "alpha", "HVIT", "PHVIT")
    known = type(module).__name__ == "RGB_HVI" and all(hasattr(module, name) for name in wanted)
    return Hvi(module) if known else None


class Hvi(nn.Module):
    """The two transforms, under the names by which a network calls them."""

    def __init__(self, old: Any) -> None:
        super().__init__()
        density = float(old.density_k.detach())
        self.forth = ToHvi(density)
        self.back = FromHvi(density, 1.3 if old.gated else 1.0, float(old.alpha) if old.gated2 else 1.0)

    def HVIT(self, x: Tensor) -> Tensor:
        """Return the HVI of RGB."""
        y: Tensor = self.forth(x)
        return y

    def PHVIT(self, x: Tensor) -> Tensor:
        """Return the RGB of HVI."""
        y: Tensor = self.back(x)
        return y


class ToHvi(nn.Module):
    """From (N, 3, h, w) RGB in [0, 1] to the hue as a point of a disc, times saturation and density, and the value."""

    fp32_reason = REASON

    def __init__(self, density: float) -> None:
        super().__init__()
        self.density = density

    def forward(self, x: Tensor) -> Tensor:
        """Return the HVI of RGB."""
        red, green, blue = x.unbind(1)
        value, least = x.amax(1), x.amin(1)
        range_ = value - least
        hue = torch.where(value == blue, 4 + (red - green) / (range_ + EPSILON), torch.zeros_like(value))
        hue = torch.where(value == green, 2 + (blue - red) / (range_ + EPSILON), hue)
        hue = torch.where(value == red, (green - blue) / (range_ + EPSILON), hue)  # a turn less is the same hue
        hue = torch.where(range_ == 0, torch.zeros_like(hue), hue)
        saturation = torch.where(value == 0, torch.zeros_like(value), range_ / (value + EPSILON))
        length = _density(value, self.density) * saturation
        return torch.stack([length * (hue * (pi / 3)).cos(), length * (hue * (pi / 3)).sin(), value], 1)


class FromHvi(nn.Module):
    """From HVI, (N, 3, h, w), to RGB in [0, 1]; ``vivid`` is the factor of the saturation, ``bright`` of the result."""

    fp32_reason = REASON

    def __init__(self, density: float, vivid: float, bright: float) -> None:
        super().__init__()
        self.density, self.vivid, self.bright = density, vivid, bright

    def forward(self, x: Tensor) -> Tensor:
        """Return the RGB of HVI."""
        value = x[:, 2].clamp(0, 1)
        dense = _density(value, self.density) + EPSILON
        along, across = ((x[:, at].clamp(-1, 1) / dense).clamp(-1, 1) for at in (0, 1))
        turn = angle(across, along) / (2 * pi)
        turn = torch.where(turn < 0, turn + 1, turn)
        saturation = ((along**2 + across**2).sqrt() * self.vivid).clamp(0, 1)
        sector = (turn * 6).floor()
        part = turn * 6 - sector
        low, falling = value * (1 - saturation), value * (1 - part * saturation)
        rising = value * (1 - (1 - part) * saturation)
        colours = (
            (value, falling, low, low, rising, value),
            (rising, value, value, falling, low, low),
            (low, low, rising, value, value, falling),
        )
        return torch.stack([_chosen(sector, colour) for colour in colours], 1) * self.bright


def angle(y: Tensor, x: Tensor) -> Tensor:
    """Return the angle of points in (-pi, pi], 0 where both are 0; the exporter's own gives NaN there."""
    less, more = torch.minimum(x.abs(), y.abs()), torch.maximum(x.abs(), y.abs())
    first = torch.atan(less / torch.where(more == 0, torch.ones_like(more), more))
    first = torch.where(y.abs() > x.abs(), pi / 2 - first, first)
    upper = torch.where(x < 0, pi - first, first)
    return torch.where(y < 0, -upper, upper)


def _density(value: Tensor, exponent: float) -> Tensor:
    return ((value * (0.5 * pi)).sin() + EPSILON).pow(exponent)


def _chosen(sector: Tensor, colours: tuple[Tensor, ...]) -> Tensor:
    """Return of six colours that of each pixel's sector, and black where it is in none, as the network does."""
    y = torch.zeros_like(sector)
    for at, colour in enumerate(colours):
        y = torch.where(sector == at, colour, y)
    return y
