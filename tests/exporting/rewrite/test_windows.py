"""Attention in shifted windows as SwinIR has it, the layers around it, and the graph that is made of them.

The network is written here as its paper defines it, with the names and attributes that public code has.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from fsr_deploy.exporting.graph.deployable import prepare
from fsr_deploy.exporting.graph.onnx_writer import export_onnx
from fsr_deploy.exporting.rewrite import windows
from fsr_deploy.exporting.rewrite.rewrites import rewrite

SIDE, WINDOW, WIDTH, HEADS = 8, 4, 8, 2
POSITIONS = WINDOW * WINDOW


class WindowAttention(nn.Module):
    """Swin Transformer, eq. 4: a bias for each relative position, read from a table in each run."""

    def __init__(self) -> None:
        super().__init__()
        self.window_size, self.num_heads, self.scale = (WINDOW, WINDOW), HEADS, (WIDTH / HEADS) ** -0.5
        self.relative_position_bias_table = nn.Parameter(torch.randn((2 * WINDOW - 1) ** 2, HEADS))
        rows, columns = (grid.flatten() for grid in torch.meshgrid(*[torch.arange(WINDOW)] * 2, indexing="ij"))
        places = (rows[:, None] - rows) * (2 * WINDOW - 1) + columns[:, None] - columns
        self.register_buffer("relative_position_index", places - places.min())
        self.qkv, self.proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        windows, n, width = x.shape
        q, k, v = self.qkv(x).reshape(windows, n, 3, HEADS, width // HEADS).permute(2, 0, 3, 1, 4)
        bias = self.relative_position_bias_table[self.relative_position_index.view(-1)].view(n, n, -1)
        logits = (q * self.scale) @ k.transpose(-2, -1) + bias.permute(2, 0, 1).unsqueeze(0)
        if mask is not None:
            logits = logits.view(windows // len(mask), len(mask), HEADS, n, n) + mask.unsqueeze(1).unsqueeze(0)
            logits = logits.view(-1, HEADS, n, n)
        return self.proj((logits.softmax(-1) @ v).transpose(1, 2).reshape(windows, n, width))


class Block(nn.Module):
    """Attention in windows, shifted or not, and two linear layers, each after a layer norm and beside a skip."""

    def __init__(self, shift: int) -> None:
        super().__init__()
        self.shift, self.attn = shift, WindowAttention()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, WIDTH))

    def mask(self, height: int, width: int) -> Tensor:
        """Tell apart what lies side by side only because it was shifted."""
        parts = (slice(0, -WINDOW), slice(-WINDOW, -self.shift), slice(-self.shift, None))
        number = torch.zeros(1, height, width, 1)
        for at, (rows, columns) in enumerate((rows, columns) for rows in parts for columns in parts):
            number[:, rows, columns] = at
        windows = partition(number).view(-1, POSITIONS)
        apart = windows.unsqueeze(1) - windows.unsqueeze(2)
        return apart.masked_fill(apart != 0, -100.0).masked_fill(apart == 0, 0.0)

    def forward(self, x: Tensor) -> Tensor:
        _, height, width, _ = x.shape
        y = self.norm1(x)
        y = torch.roll(y, (-self.shift, -self.shift), (1, 2)) if self.shift else y
        y = self.attn(partition(y), self.mask(height, width) if self.shift else None)
        y = y.view(-1, height // WINDOW, width // WINDOW, WINDOW, WINDOW, WIDTH).permute(0, 1, 3, 2, 4, 5)
        y = y.reshape(-1, height, width, WIDTH)
        x = x + (torch.roll(y, (self.shift, self.shift), (1, 2)) if self.shift else y)
        return x + self.mlp(self.norm2(x))


class Windows(nn.Module):
    """A small SwinIR that enlarges twice."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.blocks = nn.Conv2d(3, WIDTH, 3, padding=1), nn.Sequential(Block(0), Block(WINDOW // 2))
        self.tail = nn.Sequential(nn.Conv2d(WIDTH, 12, 3, padding=1), nn.PixelShuffle(2))

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(self.blocks(self.head(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2))


def partition(x: Tensor) -> Tensor:
    n, height, width, channels = x.shape
    x = x.view(n, height // WINDOW, WINDOW, width // WINDOW, WINDOW, channels).permute(0, 1, 3, 2, 4, 5)
    return x.reshape(-1, POSITIONS, channels)


@pytest.fixture(scope="module", params=["onnxruntime", "tensorrt"])
def graph(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, nn.Module, Path]:
    torch.manual_seed(0)
    network, path = Windows().eval(), tmp_path_factory.mktemp("windows") / "m.onnx"
    deployable, _ = prepare(network, lr_size=SIDE, upsampling=1, target=request.param)
    export_onnx(deployable, path, lr_size=SIDE, batches=(1, 2, 4), precision="fp32", upsampling=1, target=request.param)
    return request.param, network, path


def test_a_network_of_windows_is_exported_for_any_batch(graph: tuple[str, nn.Module, Path]) -> None:
    _, network, path = graph
    session = onnxruntime.InferenceSession(path)
    for count in (1, 3):
        lr = np.random.default_rng(count).integers(0, 256, (count, SIDE, SIDE, 3), np.uint8)
        with torch.no_grad():
            sr = network(torch.from_numpy(lr).float().permute(0, 3, 1, 2) / 127.5 - 1)
        levels = ((sr + 1) * 127.5).round().clamp(0, 255).permute(0, 2, 3, 1).numpy()
        assert np.abs(session.run(None, {"lr": lr})[0].astype(int) - levels).max() <= 1


def test_the_biases_of_positions_are_constants_of_the_graph(graph: tuple[str, nn.Module, Path]) -> None:
    model = onnx.load(graph[2])
    constants = {tensor.name: tensor.dims for tensor in model.graph.initializer}
    read = [node.name for node in model.graph.node if node.op_type.startswith("Gather") and node.input[0] in constants]
    tables = [name for name, dims in constants.items() if list(dims) == [(2 * WINDOW - 1) ** 2, HEADS]]
    assert not read and not tables


def test_each_target_has_its_form(graph: tuple[str, nn.Module, Path]) -> None:
    target, _, path = graph
    kinds = Counter(node.op_type for node in onnx.load(path).graph.node)
    assert kinds["LayerNormalization"] == 4
    assert (kinds["DepthToSpace"], kinds["Gemm"] > 0) == ((1, False) if target == "tensorrt" else (0, True))


@pytest.mark.parametrize(("masked", "most"), [(False, windows.MOST), (True, windows.MOST), (True, 0)])
def test_attention_in_windows_keeps_its_values(masked: bool, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "MOST", most)
    torch.manual_seed(0)
    module, x = WindowAttention(), torch.randn(8, POSITIONS, WIDTH)
    mask = torch.randn(4, POSITIONS, POSITIONS) if masked else None
    form = rewrite(nn.Sequential(module), "onnxruntime")[0]
    assert type(form).__module__.startswith("fsr_deploy") and type(form).__name__ == "WindowAttention"
    assert torch.allclose(form(x, mask), module(x, mask), atol=1e-6)


def test_attention_that_has_more_than_the_known_stays() -> None:
    module = WindowAttention()
    module.logit_scale = nn.Parameter(torch.ones(HEADS, 1, 1))
    assert type(rewrite(nn.Sequential(module), "onnxruntime")[0]) is WindowAttention


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (nn.Linear(6, 5), (2, 6)),
        (nn.Linear(6, 5), (2, 3, 6)),
        (nn.Linear(6, 5), (2, 3, 4, 6)),
        (nn.GELU(), (2, 3, 6)),
        (nn.PixelShuffle(2), (2, 12, 3, 5)),
        (nn.PixelShuffle(3), (2, 9, 3, 5)),
    ],
)
def test_a_layer_in_another_form_keeps_its_values(module: nn.Module, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    form, x = rewrite(nn.Sequential(module), "onnxruntime")[0], torch.randn(*shape)
    assert type(form) is not type(module) and torch.allclose(form(x), module(x), atol=1e-6)
    assert type(rewrite(nn.Sequential(module), "tensorrt")[0]) is type(module)
