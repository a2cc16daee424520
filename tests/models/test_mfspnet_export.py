"""MFSPNet exports to one graph of any batch, of operators that every engine takes, with little padding."""

from __future__ import annotations

import onnx
import pytest
import torch

from fsr_deploy.models.mfspnet import MFSPNet
from tests.models.exported import ALLOWED, dynamic_graph, operators, run, shapes

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def network() -> MFSPNet:
    torch.manual_seed(0)
    return MFSPNet(padding="zeros", lr_size=8, width=8, blocks=1).eval()


@pytest.fixture(scope="module")
def graph(network: MFSPNet) -> onnx.ModelProto:
    return dynamic_graph(network, (3, 64, 64))


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_one_exported_file_takes_any_batch(network: MFSPNet, graph: onnx.ModelProto, batch: int) -> None:
    assert shapes(graph) == [["N", 3, 64, 64]] * 2
    x = torch.rand(batch, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        assert (run(graph, x) - network(x)).abs().max() < 1e-4


def test_every_engine_takes_its_operators_and_few_of_them_pad(graph: onnx.ModelProto) -> None:
    assert set(operators(graph)) <= ALLOWED
    assert operators(graph)["Pad"] <= 10


def test_grids_are_enlarged_as_every_engine_does(graph: onnx.ModelProto) -> None:
    names = ("mode", "coordinate_transformation_mode", "nearest_mode")
    resizes = [
        {attribute.name: attribute.s.decode() for attribute in node.attribute if attribute.name in names}
        for node in graph.graph.node
        if node.op_type == "Resize"
    ]
    assert resizes
    assert all(resize == dict(zip(names, ("nearest", "asymmetric", "floor"), strict=True)) for resize in resizes)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["patch", "shift"])
def test_the_whole_network_has_at_most_ten_pad_nodes(form: str) -> None:
    network = MFSPNet(padding="zeros")
    network.pa.form = form
    graph = dynamic_graph(network, (3, 128, 128))
    assert set(operators(graph)) <= ALLOWED
    assert operators(graph)["Pad"] <= 10
