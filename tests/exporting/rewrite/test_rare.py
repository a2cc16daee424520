"""Rewrites for single families of other people's networks: the same values, for any batch.

The modules are written here as their papers define them, with the names and attributes that public code has.
"""

from __future__ import annotations

from math import pi

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fsr_deploy.exporting.rewrite.hvi import angle
from fsr_deploy.exporting.rewrite.rewrites import rewrite

SIDE = 8


class Expert(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor, k: Tensor) -> Tensor:
        return self.layer(x) * k


class MoELayer(nn.Module):
    """SeemoRe: the likeliest experts of one face."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.experts = nn.ModuleList(Expert() for _ in range(3))
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
        self.num_expert = count

    def forward(self, x: Tensor, k: Tensor) -> Tensor:
        likely, which = self.gate(x).softmax(1).topk(self.num_expert)
        assert len(x) == 1
        return x + sum(self.experts[int(i)](x, k) * share for i, share in zip(which[0], likely[0], strict=True))


class DFFN(nn.Module):
    """FFTformer: the frequencies of each patch, weighed by channel."""

    def __init__(self) -> None:
        super().__init__()
        self.patch_size, self.fft = SIDE, nn.Parameter(torch.randn(12, 1, 1, SIDE, SIDE // 2 + 1))
        self.project_in, self.project_out = nn.Conv2d(4, 12, 1), nn.Conv2d(6, 4, 1)
        self.dwconv = nn.Conv2d(12, 12, 3, padding=1, groups=12)

    def forward(self, x: Tensor) -> Tensor:
        rows = torch.fft.irfft2(torch.fft.rfft2(tiles(self.project_in(x))) * self.fft, s=(SIDE, SIDE))
        first, second = self.dwconv(picture(rows)).chunk(2, 1)
        return self.project_out(F.gelu(first) * second)


class FSAS(nn.Module):
    """FFTformer: the products of the frequencies of queries and keys."""

    def __init__(self) -> None:
        super().__init__()
        self.patch_size, self.norm = SIDE, nn.GroupNorm(1, 8)
        self.to_hidden, self.to_hidden_dw = nn.Conv2d(4, 24, 1), nn.Conv2d(24, 24, 3, padding=1, groups=24)
        self.project_out = nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.to_hidden_dw(self.to_hidden(x)).chunk(3, 1)
        y = torch.fft.irfft2(torch.fft.rfft2(tiles(q)) * torch.fft.rfft2(tiles(k)), s=(SIDE, SIDE))
        return self.project_out(v * self.norm(picture(y)))


class RGB_HVI(nn.Module):
    """HVI-CIDNet, eqs 1 to 6: a colour space whose hue and saturation are a point of a disc."""

    def __init__(self) -> None:
        super().__init__()
        self.density_k = nn.Parameter(torch.tensor([0.2]))
        self.gated = self.gated2 = False
        self.alpha = 1.0

    def HVIT(self, x: Tensor) -> Tensor:
        y = torch.zeros_like(x)
        for pixel in [(n, i, j) for n in range(len(x)) for i in range(x.shape[2]) for j in range(x.shape[3])]:
            n, i, j = pixel
            red, green, blue = x[n, :, i, j].double()
            value, range_ = max(red, green, blue), max(red, green, blue) - min(red, green, blue)
            if red == value:
                hue = (green - blue) / (range_ + 1e-8) % 6
            elif green == value:
                hue = 2 + (blue - red) / (range_ + 1e-8)
            else:
                hue = 4 + (red - green) / (range_ + 1e-8)
            length = ((value * pi / 2).sin() + 1e-8) ** 0.2 * range_ / (value + 1e-8)
            y[n, :, i, j] = torch.stack([length * (hue * pi / 3).cos(), length * (hue * pi / 3).sin(), value])
        return y

    def PHVIT(self, x: Tensor) -> Tensor:
        raise NotImplementedError


class Hues(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.trans = RGB_HVI()

    def forward(self, x: Tensor) -> Tensor:
        return self.trans.HVIT(x)


def tiles(x: Tensor) -> Tensor:
    return x.unflatten(3, (-1, SIDE)).unflatten(2, (-1, SIDE)).transpose(3, 4)


def picture(rows: Tensor) -> Tensor:
    return rows.transpose(3, 4).flatten(4, 5).flatten(2, 3)


@pytest.mark.parametrize("count", [1, 2])
def test_each_face_of_a_batch_takes_its_own_experts(count: int) -> None:
    torch.manual_seed(0)
    module, x, k = MoELayer(count).eval(), torch.randn(6, 4, 5, 7) * 3, torch.randn(6, 4, 5, 7)
    alone = torch.cat([module(*pair) for pair in zip(x.split(1), k.split(1), strict=True)])
    assert len(module.gate(x).argmax(1).unique()) > 1
    assert torch.allclose(rewrite(nn.ModuleList([module]), "tensorrt")[0](x, k), alone, atol=1e-6)


@pytest.mark.parametrize("kind", [DFFN, FSAS])
def test_patches_are_transformed_by_matrices(kind: type[nn.Module]) -> None:
    torch.manual_seed(0)
    module, x = kind(), torch.randn(2, 4, 16, 24)
    form = rewrite(nn.Sequential(module), "tensorrt")[0]
    assert type(form).__name__.startswith("Patch")
    assert torch.allclose(form(x), module(x), atol=1e-5)


def test_colours_are_told_by_hue_and_told_back() -> None:
    x = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    x[:, :, 0] = 0
    x[:, :, 1] = x[:, :1, 1]
    x[:, :2, 2] = 0.5
    x[:, :, 3] = 1
    module = Hues()
    form = rewrite(module, "tensorrt")
    hvi = form(x)
    assert torch.allclose(hvi, module(x), atol=1e-5)
    assert torch.allclose(form.trans.PHVIT(hvi), x, atol=1e-5)
    assert torch.equal(form.trans.PHVIT(torch.zeros(1, 3, 2, 2)), torch.zeros(1, 3, 2, 2)), "no NaN where all is 0"


def test_an_angle_is_that_of_the_point() -> None:
    y, x = torch.meshgrid(torch.linspace(-1, 1, 9), torch.linspace(-1, 1, 9), indexing="ij")
    assert torch.allclose(angle(y, x), torch.atan2(y, x), atol=1e-6)
