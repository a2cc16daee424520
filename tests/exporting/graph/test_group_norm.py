"""Group norms in graphs whose opset has an operator for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fsr_deploy.exporting.graph.deployable import prepare
from fsr_deploy.exporting.graph.onnx_writer import export_onnx, module_of_node
from fsr_deploy.exporting.graph.shapes import tensors_of_one_face
from fsr_deploy.exporting.options import BF16_OPSET


class Normed(nn.Module):
    """A norm with weights of its own, one without, and one that is called as a function, of another rank."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 12, 3, padding=1)
        self.norm = nn.GroupNorm(4, 12, eps=0.1)
        nn.init.normal_(self.norm.weight)
        nn.init.normal_(self.norm.bias)
        self.bare = nn.GroupNorm(3, 12, affine=False)
        self.last = nn.Conv2d(12, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = F.silu(self.norm(self.first(x)))
        y = y + self.bare(y)
        y = y + F.group_norm(y.flatten(2), 2).reshape(y.shape)
        return self.last(y)


def export(path: Path, precision: str) -> Normed:
    torch.manual_seed(0)
    network = Normed().eval()
    deployed, _ = prepare(network, lr_size=8, upsampling=1, precision=precision, io="float")
    options = {"lr_size": 8, "batches": (1, 2, 3), "upsampling": 1, "opset": BF16_OPSET}
    export_onnx(deployed, path, precision=precision, **options)
    return network


def test_they_compute_what_pytorch_does_at_any_batch(tmp_path: Path) -> None:
    network = export(tmp_path / "m.onnx", "fp32")
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    for count in (1, 2, 3, 5):
        x = torch.randn(count, 3, 8, 8)
        with torch.inference_mode():
            assert np.allclose(session.run(None, {"lr": x.numpy()})[0], network(x), atol=1e-5)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_every_tensor_after_them_has_its_type_and_shape(tmp_path: Path, precision: str) -> None:
    export(tmp_path / "m.onnx", precision)
    graph = onnx.load(tmp_path / "m.onnx")
    known = {value.name: value.type.tensor_type for value in tensors_of_one_face(graph)}
    for node in graph.graph.node:
        kind = known[node.output[0]]
        assert kind.elem_type and all(side.dim_value for side in kind.shape.dim), node.name
    norms = {module_of_node(node.name) for node in graph.graph.node if node.op_type == "InstanceNormalization"}
    assert {"norm", "bare"} <= norms
