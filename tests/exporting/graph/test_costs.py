from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import ModelProto, TensorProto, helper, numpy_helper
from torch import Tensor, nn

from fsr_deploy._util.json_records import decode, read_json
from fsr_deploy.bundle.layers import ModuleCost, ModuleTable
from fsr_deploy.exporting.graph.costs import module_table, write_layers
from fsr_deploy.exporting.graph.deployable import Deployable
from fsr_deploy.exporting.graph.onnx_writer import export_onnx


class Attention(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(2)
        return (flat @ flat.transpose(1, 2) @ flat).view_as(x)


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1, groups=4), nn.ReLU())
        self.attention = Attention()

    def forward(self, x: Tensor) -> Tensor:
        return self.attention(self.layers(x))


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(3, 4, 2, stride=2, bias=False)
        self.block = Block()
        self.up = nn.ConvTranspose2d(4, 3, 2, stride=2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.up(self.block(self.down(x)))


class Rewritten(nn.Module):
    """What an export may put in a module's place."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.inner = block

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x) * 2


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Deployable]:
    torch.manual_seed(0)
    deployable = Deployable(Network(), lr_size=4).eval()
    path = tmp_path_factory.mktemp("graph") / "model.onnx"
    export_onnx(deployable, path, lr_size=4, batches=(1, 2, 4), precision="fp32")
    return path, deployable


def test_modules_are_the_networks_own_classes(exported: tuple[Path, Deployable]) -> None:
    table = module_table(onnx.load(exported[0]), exported[1], exported[1].network)
    assert {path: cost.kind for path, cost in table.modules.items()} == {
        "": "Deployable",
        "bicubic": "Bicubic",
        "network": "Network",
        "network.block": "Block",
        "network.block.attention": "Attention",
    }


def test_what_a_rewrite_puts_inside_a_module_counts_for_that_module(tmp_path: Path) -> None:
    network, deployable = Network(), Deployable(Network(), lr_size=4).eval()
    deployable.network.block = Rewritten(Block())
    export_onnx(deployable, tmp_path / "model.onnx", lr_size=4, batches=(1, 2, 4), precision="fp32")
    table = module_table(onnx.load(tmp_path / "model.onnx"), deployable, network)
    assert "Rewritten" not in {cost.kind for cost in table.modules.values()}
    assert table.modules["network.block"].macs == (9 * 4 + 2 * 4 * 4) * 256
    assert table.modules["network.block.attention"].macs == 0


@pytest.mark.parametrize(
    ("module", "macs", "face_bytes", "weight_bytes"),
    [
        ("network", 2 * 12 * 4 * 256, 2 * 4 * (3 * 1024 + 4 * 256), 2 * 4 * 48),
        ("network.block", 9 * 4 * 256, 4 * 4 * 1024, 4 * (36 + 4)),
        ("network.block.attention", 2 * 4 * 4 * 256, 4 * (6 * 1024 + 16 + 16), 0),
    ],
    ids=["convolutions", "depthwise convolution and activation", "matrix products and transpose"],
)
def test_a_modules_own_nodes_are_counted_and_not_those_of_modules_inside_it(
    exported: tuple[Path, Deployable], module: str, macs: int, face_bytes: int, weight_bytes: int
) -> None:
    cost = module_table(onnx.load(exported[0]), exported[1], exported[1].network).modules[module]
    assert (cost.macs, cost.face_bytes, cost.weight_bytes) == (macs, face_bytes, weight_bytes)


def test_the_table_is_read_back_as_it_was_written(exported: tuple[Path, Deployable], tmp_path: Path) -> None:
    write_layers(*exported, exported[1].network, tmp_path / "layers.json")
    table = decode(ModuleTable, read_json(tmp_path / "layers.json"), "")
    assert table == module_table(onnx.load(exported[0]), exported[1], exported[1].network)
    assert isinstance(table.modules["network.block"], ModuleCost)


def product(operation: str, shapes: list[tuple[int, ...]], result: tuple[int, ...], **attributes: object) -> ModelProto:
    """Return a graph of one product of constants and, as its last factor or summand, its input."""
    names = [f"x{i}" for i in range(len(shapes))]
    *constants, entry, output = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in zip((*names, "y"), (*shapes, result), strict=True)
    )
    node = helper.make_node(operation, names, ["y"], name=f"/{operation}_0", **attributes)
    zeros = [
        numpy_helper.from_array(np.zeros(shape, np.float32), constant.name)
        for shape, constant in zip(shapes, constants, strict=False)
    ]
    graph = helper.make_graph([node], "g", [entry], [output], zeros)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


@pytest.mark.parametrize(
    ("graph", "macs"),
    [
        (product("Gemm", [(1, 5), (5, 7), (1, 7)], (1, 7)), 5 * 7),
        (product("Gemm", [(1, 5), (7, 5), (1, 7)], (1, 7), transB=1), 5 * 7),
        (product("Gemm", [(5, 1), (5, 7), (1, 7)], (1, 7), transA=1), 5 * 7),
        (product("Einsum", [(1, 4, 6), (1, 6, 9)], (1, 4, 9), equation="bij,bjk->bik"), 4 * 6 * 9),
        (
            product("Einsum", [(1, 2, 4, 6), (1, 2, 5, 6)], (1, 2, 4, 5), equation="...id, ...jd -> ...ij"),
            2 * 4 * 6 * 5,
        ),
        (product("Einsum", [(1, 4, 6), (1, 6)], (1, 4), equation="b...d,bd->b..."), 4 * 6),
        (product("Einsum", [(1, 4, 6)], (1, 6, 4), equation="bij->bji"), 0),
    ],
    ids=["Gemm", "the second transposed", "the first transposed", "product", "batches", "dots inside", "transpose"],
)
def test_every_kind_of_matrix_product_is_counted(graph: ModelProto, macs: int) -> None:
    assert module_table(graph, nn.Identity(), Network()).modules[""].macs == macs
