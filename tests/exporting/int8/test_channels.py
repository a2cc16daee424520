"""Channels as ONNX Runtime's INT8 convolutions need them: a multiple of 8, and last."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto

from fsr_deploy.exporting.graph.sessions import run_graph
from fsr_deploy.exporting.int8 import qdq
from fsr_deploy.exporting.int8.sites import Site, find_sites
from tests.engines import optimised
from tests.exporting.int8.test_quantise import Chain, exported

WIDTH = 12


@pytest.fixture
def graph(tmp_path: Path) -> tuple[ModelProto, list[Site]]:
    model, reasons = exported(Chain(width=WIDTH), tmp_path)
    return model, find_sites(model, reasons)[0]


def quantised(model: ModelProto, sites: list[Site], *, results: bool) -> ModelProto:
    return qdq.insert(
        model, sites, {name: 3.0 for site in sites for name in (site.source, site.result)}, results=results
    )


def channels(model: ModelProto) -> list[int]:
    """Return how many channels each INT8 convolution gives."""
    return [tensor.dims[0] for tensor in model.graph.initializer if tensor.name.endswith("/int8")]


def test_a_result_gets_channels_to_a_multiple_of_8_that_nobody_reads(
    graph: tuple[ModelProto, list[Site]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, sites = graph
    assert sites and all(site.private for site in sites)
    spare = quantised(model, sites, results=True)
    onnx.checker.check_model(spare, full_check=True)
    assert channels(spare) == [16] * len(sites)
    monkeypatch.setattr(qdq, "CHANNELS", 1)
    plain = quantised(model, sites, results=True)
    assert channels(plain) == [WIDTH] * len(sites)
    faces = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3), np.uint8)
    assert np.array_equal(run_graph(spare, faces), run_graph(plain, faces))


def test_onnx_runtime_computes_in_int8_and_transposes_nothing_that_is_rounded(
    graph: tuple[ModelProto, list[Site]], tmp_path: Path
) -> None:
    model, sites = graph
    nodes = optimised(quantised(model, sites, results=True), tmp_path)
    kinds = {name: node.op_type for node in nodes for name in node.output}
    assert list(kinds.values()).count("QLinearConv") == len(sites)
    read_by_transpose = {kinds.get(node.input[0]) for node in nodes if node.op_type == "Transpose"}
    assert "QuantizeLinear" not in read_by_transpose


def test_tensorrt_gets_nothing_but_pairs(graph: tuple[ModelProto, list[Site]]) -> None:
    model, sites = graph
    added = [node.op_type for node in quantised(model, sites, results=False).graph.node]
    for node in model.graph.node:
        added.remove(node.op_type)
    assert set(added) == {"QuantizeLinear", "DequantizeLinear"}


def test_the_order_in_which_convolutions_are_named_does_not_matter(graph: tuple[ModelProto, list[Site]]) -> None:
    model, sites = graph
    one, other = (quantised(model, chosen, results=True) for chosen in (sites, sites[::-1]))
    assert one.SerializeToString(deterministic=True) == other.SerializeToString(deterministic=True)
