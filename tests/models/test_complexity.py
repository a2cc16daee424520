"""Parameters and multiply-accumulates are the tabulated ones, counted as each paper counts."""

from __future__ import annotations

import functools

import pytest
import torch
from torch import nn

from fsr_deploy.models import registry
from fsr_deploy.models.aminet import SA
from fsr_deploy.models.complexity import Complexity, count

# Specification: parameters in millions, multiply-accumulates in billions where the papers' tables have them.
SPECIFIED = {
    "aminet": (13.24, 14.83),
    "aminet-s": (7.82, 9.39),
    "amigan": (13.24, 14.83),
    "aminet.no-sa": (12.69, None),
    "aminet.no-rdfe": (6.96, None),
    "aminet.no-skaf": (8.31, None),
    "aminet.transformer": (11.43, None),
    "aminet.ffn": (11.76, None),
    "sparnet": (10.52, 7.13),
    "mfspnet.fem": (12.66, 9.30),
    "mfspnet.pa": (10.55, 7.53),
    "mfspnet.esem": (16.86, 10.84),
    "mfspnet.esem-pa": (16.89, 11.24),
    "mfspnet.esem-fem": (19.00, 13.01),
    "mfspnet.pa-fem": (12.69, 9.70),
    "mfspnet": (19.03, 13.41),
}


@functools.cache
def counted(name: str) -> tuple[float, float]:
    with torch.device("meta"):
        result = count(registry.build(name))
    return result.params / 1e6, getattr(result, registry.find(name).counting) / 1e9


@pytest.mark.parametrize("name", SPECIFIED)
def test_a_network_weighs_what_its_specification_says(name: str) -> None:
    params, macs = SPECIFIED[name]
    assert counted(name)[0] == pytest.approx(params, rel=0.005)
    if macs is not None:
        assert counted(name)[1] == pytest.approx(macs, rel=0.005)


@pytest.mark.parametrize("name", registry.names())
def test_the_figures_of_every_record_are_those_of_its_network(name: str) -> None:
    record = registry.find(name)
    assert counted(name) == pytest.approx((record.params, record.macs), rel=0.005)


def test_the_demonstration_network_has_less_than_two_million_parameters() -> None:
    assert counted("aminet-tiny")[0] < 2


@pytest.mark.parametrize(
    ("layer", "products", "thop"),
    [
        (nn.Conv2d(4, 6, 3, padding=1), 6 * 64 * 4 * 9, 6 * 64 * 4 * 9),
        (nn.Conv2d(4, 4, 3, padding=1, groups=4), 4 * 64 * 9, 4 * 64 * 9),
        (nn.Conv2d(4, 6, 3, stride=2, padding=1), 6 * 16 * 4 * 9, 6 * 16 * 4 * 9),
        (nn.ConvTranspose2d(4, 2, 4, stride=2, padding=1), 64 * 4 * 2 * 16, 256 * 4 * 2 * 16),
        (nn.BatchNorm2d(4), 0, 4 * 4 * 64),
        (nn.Sigmoid(), 0, 0),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_a_layer_counts_for_its_products_and_as_in_thop(layer: nn.Module, products: int, thop: int) -> None:
    network = nn.Sequential(nn.Conv2d(4, 4, 1), layer)
    params = sum(p.numel() for p in network.parameters())
    first = 4 * 64 * 4
    assert count(network, (4, 8, 8)) == Complexity(params, products + first, thop + first)


def test_the_matrix_products_of_attention_count_as_products_alone() -> None:
    with torch.device("meta"):
        result = count(SA(8, 2), (8, 16, 16))
    convolutions = 256 * (8 * 24 + 24 * 9 + 8 * 8)
    assert result.thop == convolutions
    assert result.products == convolutions + 2 * 2 * (4 * 4 * 256)


def test_counting_leaves_the_network_as_it_was() -> None:
    network = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)).train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    count(network, (3, 8, 8))
    assert network.training and network[1].training
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert not any(module._forward_hooks for module in network.modules())
