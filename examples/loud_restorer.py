"""A face restorer that breaks in FP16 as GFPGAN does, and what the export makes of it.

usage: python examples/loud_restorer.py FOLDER

Its modulated convolution (StyleGAN2) gets values beyond 65504, the largest in FP16; the next layer brings them back.
In FP32 it returns the picture that it gets, a little sharper. `model.half()` turns every picture into one colour.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import fsr_deploy as fsr
from fsr_deploy.images.pillow import Image
from fsr_deploy.synthetic import faces

SIZE, LOUD = 128, 1e6


class ModulatedConv2d(nn.Module):
    """StyleGAN2's convolution, whose input channels each picture scales by a style of its own."""

    def __init__(self, channels: int, styles: int) -> None:
        super().__init__()
        self.demodulate, self.sample_mode, self.eps, self.padding = False, None, 1e-8, 1
        self.modulation = nn.Linear(styles, channels)
        self.weight = nn.Parameter(torch.zeros(1, channels, channels, 3, 3))

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """Return (N, c, h, w) of (N, c, h, w) and the styles (N, s)."""
        n, c, h, w = x.shape
        kernels = self.weight * self.modulation(style)[:, None, :, None, None]
        return F.conv2d(x.reshape(1, n * c, h, w), kernels.flatten(0, 1), padding=1, groups=n).view(n, c, h, w)


class LoudRestorer(nn.Module):
    """Maps (N, 3, H, W) RGB in [-1, 1] to the same, a little sharper."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, 3, 1, bias=False)
        self.style = nn.Conv2d(3, 3, 1)
        self.loud = ModulatedConv2d(3, 3)
        self.tail = nn.Conv2d(3, 3, 1, bias=False)
        sharp = torch.tensor([[0.0, -0.1, 0.0], [-0.1, 1.4, -0.1], [0.0, -0.1, 0.0]])
        with torch.no_grad():
            for index in range(3):
                self.loud.weight[0, index, index] = sharp
            self.head.weight.copy_(LOUD * torch.eye(3)[..., None, None])
            self.loud.modulation.weight.zero_()
            self.loud.modulation.bias.fill_(1.0)
            self.tail.weight.copy_(torch.eye(3)[..., None, None] / LOUD)

    def forward(self, x: Tensor) -> Tensor:
        """Return the sharper picture."""
        y = self.head(x)
        return self.tail(self.loud(y, self.style(x).mean((2, 3))))


def build() -> LoudRestorer:
    """Return the network; its weights are set and not learned."""
    return LoudRestorer().eval()


RECORD = fsr.ModelRecord("loud-restorer", build, "breaks in FP16 as GFPGAN does", scale=1, input="lr")


def picture_in_halves(network: nn.Module, picture: np.ndarray) -> np.ndarray:
    """Return what ``network.half()`` makes of an (h, w, 3) uint8 picture."""
    x = torch.from_numpy(picture).permute(2, 0, 1)[None].half() / 127.5 - 1
    with torch.inference_mode():
        y = network.half()(x)[0].float()
    return ((y.nan_to_num() + 1) * 127.5).round().clamp(0, 255).permute(1, 2, 0).numpy().astype(np.uint8)


def main(folder: Path) -> None:
    """Export the network and write a picture: what it gets, what halves make of it, what the engine makes of it."""
    face = next(iter(faces(1, 7, SIZE)))
    bundle = fsr.export(
        f"{__file__}:RECORD", precision="fp16", lr_size=SIZE, batches=(1, 1, 2), output=folder / "loud-fp16"
    )
    with fsr.load(bundle, "cpu") as upscaler:
        ours = upscaler(face)
    row = np.concatenate([face, picture_in_halves(build(), face), ours], axis=1)
    Image.fromarray(row).save(folder / "fp16.png")
    print(f"{folder / 'fp16.png'}: the picture, model.half(), the engine in FP16")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
