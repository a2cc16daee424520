"""The form of INT8 for OpenVINO is one that it fuses: 8 bits from convolution to convolution, no layout in between."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from onnx import ModelProto
from torch import nn

from fsr_deploy.exporting.graph.sessions import run_graph
from fsr_deploy.exporting.int8.calibration import calibration_faces
from fsr_deploy.exporting.int8.qdq import insert
from fsr_deploy.exporting.int8.scheme import find_ranges
from fsr_deploy.exporting.int8.sites import find_sites
from fsr_deploy.runtime.machine import multiplies_int8_exactly
from tests.exporting.int8.test_quantise import LR, Chain, exported

openvino = pytest.importorskip("openvino")


def fact(node: Any, name: str) -> str:
    value = node.get_rt_info()[name]
    return str(getattr(value, "value", value))


def kernels(model: ModelProto) -> Counter[str]:
    """Return how many kernels of each kind run, by what they read: "Convolution u8"."""
    core = openvino.Core()
    read = core.read_model(model.SerializeToString())
    read.reshape([1, LR, LR, 3])
    compiled = core.compile_model(read, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    nodes = [node for node in compiled.get_runtime_model().get_ops() if fact(node, "layerType") != "Const"]
    return Counter(f"{fact(node, 'layerType')} {fact(node, 'runtimePrecision')}" for node in nodes)


def test_quantised_convolutions_run_in_8_bits_one_after_the_other(tmp_path: Path) -> None:
    model, reasons = exported(Chain(), tmp_path)
    sites, _ = find_sites(model, reasons)
    ranges = {name: 4.0 for site in sites for name in (site.source, site.result)}
    before = kernels(model)
    for_openvino, for_onnxruntime = (
        kernels(insert(model, sites, ranges, results=results)) for results in (False, True)
    )
    assert len(sites) == for_openvino["Convolution u8"] == 3
    assert before["Convolution f32"] - for_openvino["Convolution f32"] == 3
    # New beside them is the rounding of the first one's input; the others get their 8 bits from the one before.
    assert for_openvino.total() - before.total() <= 2
    assert for_openvino["Reorder u8"] == before["Reorder u8"] and for_onnxruntime["Reorder u8"] >= len(sites)


@pytest.mark.skipif(not multiplies_int8_exactly(), reason="on this CPU OpenVINO's sums of 8-bit products overflow")
def test_the_graph_is_right_in_a_program_that_is_not_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Values counted from 0 in int8 are not, where a concatenation stands between a pair and its convolution."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    torch.manual_seed(0)
    model, reasons = exported(Forks().eval(), tmp_path)
    sites, _ = find_sites(model, reasons)
    ranges = find_ranges(model, sites, calibration_faces(None, 16, LR, 8, "bicubic", "uint8"), "max")
    graph = insert(model, sites, ranges, results=False, unsigned=True)
    faces = np.random.default_rng(0).integers(0, 256, (1, LR, LR, 3), np.uint8)
    core = openvino.Core()
    plain = core.compile_model(core.read_model(graph.SerializeToString()), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    ours, theirs = plain([faces])[0].astype(int), run_graph(graph, faces).astype(int)
    assert len(sites) == 1 and theirs.std() > 5
    np.testing.assert_allclose(ours, theirs, atol=1)


class Forks(nn.Module):
    """Two convolutions side by side, whose results are joined for a third one in INT8."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.tail = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(16, 3, 3, padding=1)
        self.left, self.right = (nn.Conv2d(8, 8, 3, padding=1, groups=8) for _ in range(2))
        self.mix = nn.Conv2d(16, 16, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.head(x)
        return self.tail(self.mix(torch.cat([self.left(x), self.right(x)], 1)).relu())
