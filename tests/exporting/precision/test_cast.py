"""Half precision where it is harmless, FP32 where modules say so or where the user asks."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from fsr_deploy.errors import UsageError
from fsr_deploy.exporting.graph.deployable import prepare
from fsr_deploy.exporting.precision.cast import ASKED, DTYPES, REFUSED_REASON, cast, precision_map
from fsr_deploy.exporting.rewrite.rewrites import rewrite
from fsr_deploy.models.aminet import LGFI, SA
from fsr_deploy.models.pyramid_attention import PA
from tests.networks import Coarse, Pixel

HALF = ["fp16", "bf16"]


def psnr(one: Tensor, other: Tensor) -> float:
    """Return the PSNR in dB against the range of ``other``."""
    error = float((one.double() - other.double()).square().mean())
    return 10 * math.log10(float(other.max() - other.min()) ** 2 / error)


@pytest.mark.parametrize("precision", HALF)
def test_a_cast_network_still_takes_and_gives_fp32(precision: str) -> None:
    torch.manual_seed(0)
    network = Pixel().eval()
    reduced = cast(network, precision)
    x = torch.rand(1, 3, 8, 8) * 2 - 1
    with torch.no_grad():
        y, truth = reduced(x), network(x)
    assert y.dtype == torch.float32
    assert {value.dtype for value in reduced.state_dict().values()} == {DTYPES[precision]}
    assert 0 < (y - truth).abs().max() < 0.05
    assert {value.dtype for value in network.state_dict().values()} == {torch.float32}


class Masked(nn.Module):
    """Makes a mask for the size that it is given, as window attention does for another one than its own."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 3, 1), Weighing()

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x), mask=torch.linspace(0, 1, x.shape[-1]))


class Weighing(nn.Module):
    """Has a weight of its own, and takes a mask."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.eye(8))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return (x + mask) @ self.weight


@pytest.mark.parametrize("precision", HALF)
def test_what_code_makes_in_fp32_on_the_way_is_taken_in_half_precision(precision: str) -> None:
    network, x = Masked().eval(), torch.rand(1, 3, 8, 8)
    with torch.no_grad():
        assert (cast(network, precision)(x) - network(x)).abs().max() < 0.05


def test_what_needs_fp32_stays_in_fp32_and_says_why() -> None:
    network = rewrite(nn.Sequential(LGFI(8, 2, 8), PA(8, 8)), "onnxruntime")
    kept = precision_map(network, "fp16")
    assert set(kept) == {"0.attention.matrix", "0.norm", "1.match"}
    assert {entry["precision"] for entry in kept.values()} == {"fp32"}
    assert "overflow" in kept["0.attention.matrix"]["reason"]
    assert precision_map(network, "fp32") == {}


def test_kept_modules_hold_their_weights_unrounded() -> None:
    network = Pixel().eval()
    reduced = cast(network, "fp16", keep=["body.2"])
    assert torch.equal(reduced.body[2].weight, network.body[2].weight)
    assert reduced.body[0].weight.dtype == torch.float16


def test_a_transposed_convolution_stays_in_fp32_where_bf16_cannot_be_built() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ConvTranspose2d(4, 3, 4, 2, 1)).eval()
    assert precision_map(network, "bf16") == {"1": {"precision": "fp32", "reason": REFUSED_REASON}}
    assert precision_map(network, "fp16") == {}
    x = torch.rand(1, 3, 8, 8)
    with torch.no_grad():
        halfway = network[0].to(torch.bfloat16)(x.to(torch.bfloat16)).float()
        expected = network[1](halfway)
        network[0].float()
        # What the network gives is rounded, and what its first convolution computes; nothing else.
        assert torch.equal(cast(network, "bf16")(x), expected.to(torch.bfloat16).float())


def test_modules_can_be_kept_by_name_with_a_reason() -> None:
    network = Pixel()
    assert precision_map(network, "fp16", {"body.0": "it lost 3 dB"}) == {
        "body.0": {"precision": "fp32", "reason": "it lost 3 dB"}
    }
    assert precision_map(network, "bf16", ["body", "body.2"]) == {"body": {"precision": "fp32", "reason": ASKED}}


def test_keeping_the_module_that_loses_bits_brings_them_back() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(Coarse(), Pixel()).eval()
    x = torch.rand(1, 3, 16, 16) * 2 - 1
    with torch.no_grad():
        truth = network(x)
        lost, repaired = cast(network, "fp16")(x), cast(network, "fp16", keep={"0"})(x)
    assert psnr(lost, truth) < 30
    assert psnr(repaired, truth) > 60


def test_unknown_names_are_refused() -> None:
    with pytest.raises(UsageError, match=r"no module called body\.7"):
        cast(Pixel(), "fp16", keep=["body.7"])
    with pytest.raises(UsageError, match="no precision is called 'fp8'; there are fp32, fp16, bf16"):
        cast(Pixel(), "fp8")


def test_the_pixels_of_a_half_precision_network_are_rounded_in_fp32() -> None:
    deployable, _ = prepare(nn.Identity(), lr_size=8, precision="fp16")
    exact, _ = prepare(nn.Identity(), lr_size=8)
    lr = torch.randint(0, 256, (2, 8, 8, 3), dtype=torch.uint8)
    assert torch.equal(deployable(lr), exact(lr))  # x + 1 in FP16 has steps of 1/8 level: 6 % would be off


@pytest.mark.parametrize("activation", [1.0, 100.0, 10000.0])
def test_attention_survives_activations_that_break_plain_fp16_without_a_nan(activation: float) -> None:
    torch.manual_seed(0)
    attention = SA(8, 2).eval()
    nn.init.constant_(attention.tau, 8.0)
    plain = copy.deepcopy(attention).half()
    ours = cast(rewrite(attention, "tensorrt"), "fp16")
    x = activation * torch.randn(1, 8, 64, 64)
    with torch.no_grad():
        truth = attention(x)
        naive = plain(x.half()).float()
        assert psnr(ours(x), truth) > 60
    assert naive.isfinite().all()
    assert (psnr(naive, truth) < 30) == (activation == 10000)
