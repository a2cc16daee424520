"""CTCNet is the paper's network: its feature sizes, the faces it takes, and every part of it is trained."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fsr_deploy.models import ctcnet, registry
from fsr_deploy.models.aminet_ablations import TransformerBlock
from tests.models.exported import ALLOWED, dynamic_graph, operators, run

SMALL = {"width": 8, "mid": 8, "blocks": 1, "depth": 2}


def small() -> nn.Module:
    torch.manual_seed(0)
    return registry.build("ctcnet", **SMALL).eval()


def test_the_grids_and_widths_are_those_of_the_papers_figure() -> None:
    network = registry.build("ctcnet", **SMALL | {"blocks": 4}).eval()
    shapes: list[tuple[int, ...]] = []
    for module in (*network.encoders, *network.body, *network.fusions):
        module.register_forward_hook(lambda module, inputs, output: shapes.append(tuple(output.shape[1:])))
    with torch.no_grad():
        network(torch.rand(2, 3, 64, 64))
    down = [(8, 64, 64), (16, 32, 32), (32, 16, 16)]
    assert shapes == [*down, *4 * [(32, 8, 8)], *down[::-1]]


def test_it_has_32_transformer_blocks_and_ten_hourglasses() -> None:
    with torch.device("meta"):
        modules = list(registry.build("ctcnet").modules())
    assert sum(isinstance(module, TransformerBlock) for module in modules) == 2 * (4 + 6 + 6)
    assert sum(isinstance(module, ctcnet.Hourglass) for module in modules) == 6 + 4


@pytest.mark.parametrize("size", [(40, 40), (56, 72)])
def test_faces_whose_sides_are_multiples_of_8_keep_their_size(size: tuple[int, int]) -> None:
    with torch.no_grad():
        assert small()(torch.rand(2, 3, *size)).shape == (2, 3, *size)


@pytest.mark.parametrize("size", [(64, 128), (128, 100)])
def test_other_sides_are_refused_by_name(size: tuple[int, int]) -> None:
    with torch.device("meta"):
        network = registry.build("ctcnet")
        with pytest.raises(ValueError, match=rf"multiples of 8 from 72 on, not on {size[0]}x{size[1]}"):
            network(torch.zeros(1, 3, *size))


def test_every_parameter_is_used() -> None:
    network = small().train()
    network(torch.rand(2, 3, 40, 40)).square().mean().backward()
    assert [n for n, p in network.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize(("grid", "size"), [((8, 8), (16, 16)), ((4, 6), (9, 13)), ((1, 2), (3, 2))])
def test_a_grid_is_enlarged_corner_to_corner(grid: tuple[int, int], size: tuple[int, int]) -> None:
    x = torch.rand(2, 3, *grid, dtype=torch.float64)
    wanted = nn.functional.interpolate(x, size=size, mode="bilinear", align_corners=True)
    torch.testing.assert_close(ctcnet.enlarged(x, size), wanted, rtol=0, atol=1e-14)


@pytest.mark.integration
@pytest.mark.parametrize("batch", [1, 5])
def test_one_exported_file_takes_any_batch_and_has_operators_that_every_engine_takes(batch: int) -> None:
    network = small()
    graph = dynamic_graph(network, (3, 64, 64))
    x = torch.rand(batch, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        assert (run(graph, x) - network(x)).abs().max() < 1e-4
    of_its_transformers = {"Erf", "Expand", "LayerNormalization", "ReduceL2", "Shape"}
    assert set(operators(graph)) <= ALLOWED | of_its_transformers | {"ConvTranspose", "Relu"}
