"""Resizing with corners on corners and Fourier transforms are written as products: the same values, for any batch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn
from torch.nn import functional as F

from fsr_deploy.exporting.graph.deployable import prepare
from fsr_deploy.exporting.graph.onnx_writer import export_onnx
from fsr_deploy.exporting.graph.products import fourier, without_transforms

SIZE = (8, 12)


class There(nn.Module):
    """Resizes in the way of many hourglasses, by a function, and back."""

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()
        self.size, self.layer = size, nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer(F.interpolate(x, self.size, mode="bilinear", align_corners=True))
        return F.interpolate(y, SIZE, mode="bilinear", align_corners=True)


class Frequencies(nn.Module):
    """Changes the amplitudes of each face's frequencies, and the phases a little."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        spectrum = torch.fft.rfft2(x)
        amplitudes, phases = torch.abs(spectrum), torch.angle(spectrum)
        amplitudes = amplitudes + 0.1 * self.layer(amplitudes)
        spectrum = torch.complex(amplitudes * torch.cos(phases), amplitudes * torch.sin(phases))
        return torch.fft.irfft2(spectrum, s=SIZE)


class Whole(nn.Module):
    """Takes the whole spectrum of more values than there are, and of fewer."""

    def forward(self, x: Tensor) -> Tensor:
        more = torch.fft.ifft(torch.fft.fft(x, n=16), n=16).real[..., : SIZE[1]]
        fewer = torch.fft.ifft(torch.fft.fft(x, n=6, dim=2), dim=2).real
        return more + 0.1 * F.pad(fewer, (0, 0, 0, 2))


NETWORKS = [There((16, 24)), There((5, 1)), Frequencies(), Whole()]


def write(network: nn.Module, path: Path, target: str, precision: str = "fp32", opset: int = 17) -> onnx.ModelProto:
    deployable, _ = prepare(network.eval(), lr_size=SIZE, upsampling=1, precision=precision, target=target)
    export_onnx(
        deployable,
        path,
        lr_size=SIZE,
        batches=(1, 2, 4),
        precision=precision,
        upsampling=1,
        opset=opset,
        target=target,
    )
    return onnx.load(path)


def levels_off(network: nn.Module, path: Path, count: int) -> int:
    """Return how far the graph's faces are from the network's."""
    lr = np.random.default_rng(count).integers(0, 256, (count, *SIZE, 3), np.uint8)
    with torch.no_grad():
        sr = network(torch.from_numpy(lr).float().permute(0, 3, 1, 2) / 127.5 - 1)
    levels = ((sr + 1) * 127.5).round().clamp(0, 255).permute(0, 2, 3, 1).numpy()
    found = onnxruntime.InferenceSession(path).run(None, {"lr": lr})[0]
    return int(np.abs(found.astype(int) - levels).max())


@pytest.mark.parametrize("opset", [17, 22])
@pytest.mark.parametrize("network", NETWORKS, ids=["larger", "smaller", "frequencies", "other lengths"])
def test_a_graph_for_tensorrt_has_products_instead(tmp_path: Path, network: nn.Module, opset: int) -> None:
    model = write(network, tmp_path / "m.onnx", "tensorrt", opset=opset)
    assert not {"Resize", "DFT"} & {node.op_type for node in model.graph.node}
    assert all(levels_off(network, tmp_path / "m.onnx", count) <= 1 for count in (1, 3))


def test_a_matrix_is_there_once_and_has_the_type_of_its_values(tmp_path: Path) -> None:
    network = nn.Sequential(There((16, 24)), There((16, 24)))
    model = write(network, tmp_path / "m.onnx", "tensorrt", "fp16")
    matrices = [tensor for tensor in model.graph.initializer if tensor.name.startswith("matrix.")]
    assert len(matrices) == 4 and {tensor.data_type for tensor in matrices} == {TensorProto.FLOAT16}
    assert levels_off(network, tmp_path / "m.onnx", 2) <= 1


def test_a_transform_is_written_for_openvino_and_left_to_onnx_runtime(tmp_path: Path) -> None:
    openvino = pytest.importorskip("openvino")
    network = Frequencies()
    assert "DFT" in {node.op_type for node in write(network, tmp_path / "a.onnx", "onnxruntime").graph.node}
    write(network, tmp_path / "b.onnx", "openvino")
    compiled = openvino.compile_model(tmp_path / "b.onnx", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    reference = onnxruntime.InferenceSession(tmp_path / "a.onnx")
    for count in (1, 3):
        lr = np.random.default_rng(count).integers(0, 256, (count, *SIZE, 3), np.uint8)
        difference = compiled(lr)[0].astype(int) - reference.run(None, {"lr": lr})[0]
        assert np.abs(difference).max() <= 1


@pytest.mark.parametrize(("count", "parts", "length"), [(8, 1, 8), (7, 1, 7), (8, 2, 8), (7, 2, 12), (9, 2, 6)])
@pytest.mark.parametrize(("inverse", "half"), [(False, False), (False, True), (True, False), (True, True)])
def test_a_product_is_the_transform(count: int, parts: int, length: int, inverse: bool, half: bool) -> None:
    rows = torch.randn(4, count, parts, dtype=torch.float64)
    values = torch.view_as_complex(rows) if parts == 2 else rows[..., 0].to(torch.complex128)
    if inverse and half:
        wanted = torch.fft.irfft(values, length).unsqueeze(-1)
    else:
        wanted = (torch.fft.ifft if inverse else torch.fft.fft)(values, length)
        wanted = torch.view_as_real(wanted[:, : length // 2 + 1] if half else wanted)
    product = rows.flatten(1).numpy() @ fourier(count, parts, length, inverse=inverse, half=half)
    assert np.allclose(product, wanted.flatten(1).numpy())


def test_a_transform_of_a_side_of_unknown_length_stays() -> None:
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", "n", 2]) for name in "xy")
    graph = helper.make_graph([helper.make_node("DFT", ["x"], ["y"], "a/DFT_0", axis=1)], "g", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    without_transforms(model)
    assert [node.op_type for node in model.graph.node] == ["DFT"]
