"""Modules of other people's networks, and the forms in which they are exported: the same values, for any batch.

The modules are written here as their papers define them, with the names and attributes that public code has.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fsr_deploy.exporting.graph.deployable import prepare
from fsr_deploy.exporting.graph.onnx_writer import export_onnx
from fsr_deploy.exporting.rewrite.rewrites import rewrite


class ModulatedConv2d(nn.Module):
    """StyleGAN2, eqs 1 and 3: each face's own kernel, as many groups as faces."""

    def __init__(self, demodulate: bool, sample_mode: str | None) -> None:
        super().__init__()
        self.demodulate, self.sample_mode, self.eps, self.padding = demodulate, sample_mode, 1e-8, 1
        self.modulation = nn.Linear(5, 4)
        self.weight = nn.Parameter(torch.randn(1, 6, 4, 3, 3))

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        kernels = self.weight * self.modulation(style)[:, None, :, None, None]
        if self.demodulate:
            kernels = kernels * torch.rsqrt(kernels.pow(2).sum((2, 3, 4), keepdim=True) + self.eps)
        if self.sample_mode:
            factor = 2.0 if self.sample_mode == "upsample" else 0.5
            x = F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)
        faces = [F.conv2d(face[None], kernel, padding=1) for face, kernel in zip(x, kernels, strict=True)]
        return torch.cat(faces)


class VectorQuantizer(nn.Module):
    """The nearest vector of a codebook, found with rows of one-hot numbers (VQ-VAE, eqs 1 and 2)."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(32, 4)

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor, tuple[None, None, Tensor]]:
        rows = z.permute(0, 2, 3, 1).reshape(-1, 4)
        nearest = torch.cdist(rows.double(), self.embedding.weight.double()).argmin(1)
        chosen = F.one_hot(nearest, 32).float() @ self.embedding.weight
        n, _, h, w = z.shape
        return chosen.reshape(n, h, w, 4).permute(0, 3, 1, 2), z.new_zeros(()), (None, None, nearest)


class ChoosingQuantizer(VectorQuantizer):
    """A quantiser whose network chooses the vectors itself (CodeFormer)."""

    def forward(self, z: Tensor) -> Tensor:
        return super().forward(z)[0]

    def get_codebook_feat(self, indices: Tensor, shape: list[int] | None) -> Tensor:
        chosen = F.one_hot(indices.flatten(), 32).float() @ self.embedding.weight
        return chosen if shape is None else chosen.view(shape).permute(0, 3, 1, 2)


class StrangeQuantizer(VectorQuantizer):
    """A quantiser with a method that nobody knows."""

    def average(self) -> Tensor:
        return self.embedding.weight.mean(0)


for kind in (ChoosingQuantizer, StrangeQuantizer):
    kind.__name__ = VectorQuantizer.__name__


class Conv3XC(nn.Module):
    """A skip of 1x1 beside three convolutions, merged into one of 3x3 whenever it runs (SPAN)."""

    def __init__(self, relu: bool) -> None:
        super().__init__()
        self.has_relu = relu
        self.sk, self.wide = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 3, padding=1)
        self.eval_conv = nn.Conv2d(4, 4, 3, padding=1)

    def update_params(self) -> None:
        self.eval_conv.weight.data = self.wide.weight.data + F.pad(self.sk.weight.data, [1, 1, 1, 1])
        self.eval_conv.bias.data = self.wide.bias.data + self.sk.bias.data

    def forward(self, x: Tensor) -> Tensor:
        self.update_params()
        y = self.eval_conv(x)
        return F.leaky_relu(y, 0.05) if self.has_relu else y


class Styled(nn.Module):
    """A network with all three."""

    def __init__(self, demodulate: bool = True, sample_mode: str | None = None) -> None:
        super().__init__()
        self.head, self.span = nn.Conv2d(3, 4, 3, padding=1), Conv3XC(relu=True)
        self.style, self.conv = nn.Linear(4, 5), ModulatedConv2d(demodulate, sample_mode)
        self.body, self.quantize, self.tail = nn.Conv2d(6, 4, 1), VectorQuantizer(), nn.Conv2d(4, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.span(self.head(x))
        y = self.body(self.conv(y, self.style(y.mean((2, 3)))))
        return self.tail(self.quantize(y)[0])


@pytest.mark.parametrize("sample_mode", [None, "upsample", "downsample"])
@pytest.mark.parametrize("demodulate", [True, False])
def test_a_modulated_convolution_keeps_its_values(demodulate: bool, sample_mode: str | None) -> None:
    torch.manual_seed(0)
    module = ModulatedConv2d(demodulate, sample_mode)
    x, style = torch.randn(3, 4, 8, 6), torch.randn(3, 5)
    form = rewrite(nn.Sequential(module), "tensorrt")[0]
    assert type(form).__name__ == "Modulated"
    assert torch.allclose(form(x, style), module(x, style), atol=1e-5)


def test_a_codebook_gives_the_same_vectors() -> None:
    torch.manual_seed(0)
    module, z = VectorQuantizer(), torch.randn(3, 4, 8, 6)
    form = rewrite(nn.Sequential(module), "onnxruntime")[0]
    ours, theirs = form(z), module(z)
    assert type(form).__name__ == "Codebook"
    assert torch.equal(ours[2][2].flatten(), theirs[2][2]) and torch.equal(ours[0], theirs[0])


def test_a_codebook_gives_the_vectors_that_its_network_chooses() -> None:
    torch.manual_seed(0)
    module, z, indices = ChoosingQuantizer(), torch.randn(3, 4, 8, 6), torch.randint(32, (3, 48, 1))
    form = rewrite(nn.Sequential(module), "onnxruntime")[0]
    assert type(form).__name__ == "Codebook"
    assert torch.equal(form(z), module(z)), "the vectors alone, as its network takes them"
    for shape in (None, [3, 8, 6, 4]):
        assert torch.equal(form.get_codebook_feat(indices, shape), module.get_codebook_feat(indices, shape))


def test_a_codebook_with_a_method_of_its_own_is_left_as_it_is() -> None:
    assert type(rewrite(nn.Sequential(StrangeQuantizer()), "onnxruntime")[0]) is StrangeQuantizer


@pytest.mark.parametrize("relu", [True, False])
def test_a_merged_convolution_keeps_its_values(relu: bool) -> None:
    torch.manual_seed(0)
    module, x = Conv3XC(relu), torch.randn(2, 4, 8, 6)
    form = rewrite(nn.Sequential(module), "tensorrt")[0]
    assert isinstance(form, nn.Sequential) and torch.equal(form(x), module(x))


def test_a_network_of_them_is_exported_for_any_batch(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = Styled(sample_mode="upsample").eval()
    deployable, _ = prepare(network, lr_size=8, upsampling=1, target="tensorrt")
    export_onnx(deployable, tmp_path / "m.onnx", lr_size=8, batches=(1, 2, 4), precision="fp32", upsampling=1)
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    for count in (1, 3):
        lr = np.random.default_rng(count).integers(0, 256, (count, 8, 8, 3), np.uint8)
        sr = network(torch.from_numpy(lr).float().permute(0, 3, 1, 2) / 127.5 - 1)
        levels = ((sr + 1) * 127.5).round().clamp(0, 255).permute(0, 2, 3, 1).detach().numpy()
        assert np.abs(session.run(None, {"lr": lr})[0].astype(int) - levels).max() <= 1
