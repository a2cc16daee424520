"""Operators that opset 17 or TensorRT lacks are written as others: the same values, for any batch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fsr_deploy.errors import InputError
from fsr_deploy.exporting.graph.deployable import prepare
from fsr_deploy.exporting.graph.onnx_writer import export_onnx


class Patches(nn.Module):
    """Each patch as a row of an MLP, and back: side by side, or overlapping."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride, self.rows = stride, nn.Linear(3 * 8, 3 * 8)

    def forward(self, x: Tensor) -> Tensor:
        rows = F.unfold(x, (4, 2), stride=(self.stride, 2))
        rows = self.rows(rows.transpose(1, 2)).transpose(1, 2)
        return F.fold(rows, x.shape[2:], (4, 2), stride=(self.stride, 2))


def write(network: nn.Module, path: Path, opset: int, target: str = "tensorrt") -> onnx.ModelProto:
    deployable, _ = prepare(network.eval(), lr_size=(8, 12), upsampling=1, target=target)
    export_onnx(
        deployable,
        path,
        lr_size=(8, 12),
        batches=(1, 2, 4),
        precision="fp32",
        upsampling=1,
        opset=opset,
        target=target,
    )
    return onnx.load(path)


@pytest.mark.parametrize("opset", [17, 22])
@pytest.mark.parametrize(
    "network", [nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.Mish()), Patches(4)], ids=["Mish", "fold"]
)
def test_a_network_with_one_is_exported_for_any_batch(tmp_path: Path, network: nn.Module, opset: int) -> None:
    torch.manual_seed(0)
    model = write(network, tmp_path / "m.onnx", opset)
    kinds = {node.op_type for node in model.graph.node}
    assert "Col2Im" not in kinds and ("Mish" in kinds) <= (opset > 17)
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    for count in (1, 3):
        lr = np.random.default_rng(count).integers(0, 256, (count, 8, 12, 3), np.uint8)
        with torch.no_grad():
            sr = network(torch.from_numpy(lr).float().permute(0, 3, 1, 2) / 127.5 - 1)
        levels = ((sr + 1) * 127.5).round().clamp(0, 255).permute(0, 2, 3, 1).numpy()
        assert np.abs(session.run(None, {"lr": lr})[0].astype(int) - levels).max() <= 1


def test_patches_that_overlap_are_refused_for_tensorrt_with_their_module(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the operator Col2Im"):
        write(Patches(2), tmp_path / "m.onnx", 22)
