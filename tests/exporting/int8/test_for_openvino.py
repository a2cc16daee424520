"""The form of INT8 for OpenVINO is one that it fuses: 8 bits from convolution to convolution, no layout in between."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from onnx import ModelProto

from fsr_deploy.exporting.int8.qdq import insert
from fsr_deploy.exporting.int8.sites import find_sites
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
