"""MFSPNet and its ablations are what paper B describes, and SPARNet is the public SPARNet."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from fsr_deploy.errors import UsageError
from fsr_deploy.models import registry
from fsr_deploy.models.complexity import count
from fsr_deploy.models.mfspnet import ECA, ESEM, FEM, Cross, Hourglass, MFSPNet
from fsr_deploy.models.sparnet_keys import sparnet_key
from tests.models import sparnet_reference

TABLE_1 = (
    "sparnet",
    *(f"mfspnet.{parts}" for parts in ("fem", "pa", "esem", "esem-pa", "esem-fem", "pa-fem")),
    "mfspnet",
)
SMALL = {"width": 8, "blocks": 1, "lr_size": 8}


@pytest.mark.parametrize("name", ["sparnet", "mfspnet"])
def test_padding_with_zeros_costs_the_same(name: str) -> None:
    with torch.device("meta"):
        assert count(registry.build(name, padding="zeros")) == count(registry.build(name, padding="reflect"))


@pytest.mark.parametrize("lr_size", [8, 16, 32])
def test_the_sr_face_has_eight_times_the_side_of_the_lr_face(lr_size: int) -> None:
    with torch.device("meta"):
        network = MFSPNet(lr_size=lr_size)
        side = 8 * lr_size
        assert network(torch.zeros(2, 3, side, side)).shape == (2, 3, side, side)


@pytest.mark.parametrize("lr_size", [8, 16, 32])
def test_every_hourglass_ends_on_a_4x4_grid(lr_size: int) -> None:
    bottoms = []
    with torch.device("meta"):
        network = MFSPNet(blocks=2, lr_size=lr_size)
        for module in network.modules():
            if isinstance(module, Hourglass):
                module.inner.register_forward_hook(lambda module, inputs, output: bottoms.append(output.shape[-2:]))
        network(torch.zeros(1, 3, 8 * lr_size, 8 * lr_size))
    assert bottoms == [(4, 4)] * 8


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"padding": "replicate"}, "padding is reflect or zeros, not 'replicate'"),
        ({"lr_size": 12}, "8, 16, 32, ... pixels a side, not 12"),
        ({"lr_size": 4}, "not 4"),
        ({"lr_size": 0}, "not 0"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        registry.build("mfspnet", **options)


def test_a_face_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="works on 64x64 faces, not"):
        MFSPNet(**SMALL)(torch.zeros(1, 3, 128, 128))


@pytest.mark.parametrize("name", TABLE_1)
def test_a_gradient_reaches_every_parameter(name: str) -> None:
    torch.manual_seed(0)
    network = registry.build(name, **SMALL)
    network(torch.rand(2, 3, 64, 64)).square().sum().backward()
    assert [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_public_sparnet_weights_load_by_renaming_and_give_the_same_face_to_the_bit() -> None:
    weights = sparnet_reference.random_weights()
    network = registry.build("sparnet").eval()
    network.load_state_dict({sparnet_key(name): value for name, value in weights.items()})
    x = torch.rand(2, 3, 128, 128, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.no_grad():
        wanted, found = sparnet_reference.sparnet(weights, x), network(x)
    assert wanted.std() > 0.1
    assert (found - wanted).abs().max() == 0


@pytest.mark.parametrize("name", ["mfspnet", "aminet"])
def test_renaming_leaves_other_weights_alone(name: str) -> None:
    with torch.device("meta"):
        names = list(registry.build(name).state_dict())
    assert [sparnet_key(n) for n in names] == names


def test_padding_changes_the_faces_border_and_not_the_weights() -> None:
    torch.manual_seed(0)
    reflect, zeros = MFSPNet(**SMALL).eval(), MFSPNet(**SMALL, padding="zeros").eval()
    zeros.load_state_dict(reflect.state_dict())
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        difference = (reflect(x) - zeros(x)).abs().mean(dim=(0, 1))
    border = torch.ones(64, 64, dtype=torch.bool)
    border[8:-8, 8:-8] = False
    assert difference[border].mean() > 2 * difference[~border].mean() > 0


def test_a_cross_is_a_plus_shaped_kernel() -> None:
    cross = Cross(4)
    kernel = torch.zeros(4, 4, 3, 3)
    kernel[:, :, 1] += cross.row.weight[:, :, 0]
    kernel[:, :, :, 1] += cross.column.weight[:, :, :, 0]
    x = torch.randn(2, 4, 6, 6)
    wanted = nn.functional.conv2d(x, kernel, cross.row.bias, padding=1)
    torch.testing.assert_close(cross(x), wanted)


@pytest.mark.parametrize(
    ("channels", "kernel"), [(8, 3), (16, 3), (32, 3), (64, 3), (96, 3), (127, 3), (128, 5), (512, 5)]
)
def test_eca_looks_at_the_odd_number_of_channels_nearest_to_its_formula(channels: int, kernel: int) -> None:
    assert ECA(channels).conv.kernel_size == (kernel,)


def test_eca_weighs_a_channel_by_the_means_around_it() -> None:
    eca = ECA(8)
    x = torch.randn(1, 8, 5, 5)
    means = [0, *x.mean(dim=(0, 2, 3)).tolist(), 0]
    a, b, c = eca.conv.weight.flatten().tolist()
    weights = torch.tensor([a * means[i] + b * means[i + 1] + c * means[i + 2] for i in range(8)]).sigmoid()
    torch.testing.assert_close(eca(x), x * weights.view(1, 8, 1, 1))


def test_esem_returns_each_quarter_to_its_place() -> None:
    esem = ESEM(16)
    seen: dict[str, Tensor] = {}
    esem.mix.register_forward_pre_hook(lambda module, inputs: seen.update(mixed=inputs[0]))
    for ccb in esem.ccb:
        ccb.register_forward_hook(lambda module, inputs, output: inputs[0] + 1)
    x = torch.randn(1, 16, 4, 4)
    esem(x)
    added = (seen["mixed"] - x).mean(dim=(0, 2, 3)).round()
    assert added.tolist() == [3] * 4 + [2] * 4 + [1] * 4 + [0] * 4  # by as many CCBs as work on each quarter


def test_fem_compares_the_scales_on_the_grid_of_its_feature() -> None:
    fem = FEM(16, 2, (8, 16, 16), (4, 2, 1))
    fem.align[0][1] = nn.Conv2d(8, 16, 1, bias=False)
    nn.init.constant_(fem.align[0][1].weight, 1 / 8)
    seen = []
    for high in fem.high:
        high.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    ramp = torch.arange(8.0).expand(1, 1, 8, 8)
    x = torch.zeros(1, 16, 4, 4)
    features = [ramp.expand(1, 8, 8, 8), ramp[..., :4, :4].expand(1, 16, 4, 4), ramp[..., :2, :2].expand(1, 16, 2, 2)]
    fem(x, features)
    rows = [-differences[0, 0, 0] for differences in seen]
    assert [row.tolist() for row in rows] == [[0.5, 2.5, 4.5, 6.5], [0, 1, 2, 3], [0, 0, 1, 1]]
