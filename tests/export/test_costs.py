from pathlib import Path

import onnx
import pytest
import torch
from torch import Tensor, nn

from fsr_deploy.export.costs import module_table, write_layers
from fsr_deploy.export.deploy import Deployable
from fsr_deploy.export.graph import export_onnx
from fsr_deploy.runtime.profiling.modules import ModuleCost, ModuleTable
from fsr_deploy.schema import decode, read_json


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


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, nn.Module]:
    torch.manual_seed(0)
    deployable = Deployable(Network(), lr_size=4).eval()
    path = tmp_path_factory.mktemp("graph") / "model.onnx"
    export_onnx(deployable, path, lr_size=4, batches=(1, 2, 4), precision="fp32")
    return path, deployable


def test_modules_are_the_networks_own_classes(exported: tuple[Path, nn.Module]) -> None:
    table = module_table(onnx.load(exported[0]), exported[1])
    assert {path: cost.kind for path, cost in table.modules.items()} == {
        "": "Deployable",
        "bicubic": "Bicubic",
        "network": "Network",
        "network.block": "Block",
        "network.block.attention": "Attention",
    }


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
    exported: tuple[Path, nn.Module], module: str, macs: int, face_bytes: int, weight_bytes: int
) -> None:
    cost = module_table(onnx.load(exported[0]), exported[1]).modules[module]
    assert (cost.macs, cost.face_bytes, cost.weight_bytes) == (macs, face_bytes, weight_bytes)


def test_the_table_is_read_back_as_it_was_written(exported: tuple[Path, nn.Module], tmp_path: Path) -> None:
    write_layers(*exported, tmp_path / "layers.json")
    table = decode(ModuleTable, read_json(tmp_path / "layers.json"), "")
    assert table == module_table(onnx.load(exported[0]), exported[1])
    assert isinstance(table.modules["network.block"], ModuleCost)
