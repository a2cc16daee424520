"""Weights of 7 bits, where a CPU without VNNI multiplies those of 8 slowly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto

from fsr_deploy.exporting.int8 import timing as selection
from fsr_deploy.exporting.int8.formats import INT8
from fsr_deploy.exporting.int8.qdq import insert
from fsr_deploy.exporting.int8.sites import INT7_MAX, Site, find_sites
from fsr_deploy.exporting.int8.timing import choose
from tests.exporting.int8.test_quantise import Chain, exported


@pytest.fixture
def graph(tmp_path: Path) -> tuple[ModelProto, list[Site]]:
    model, reasons = exported(Chain(), tmp_path)
    return model, find_sites(model, reasons)[0]


def integers(model: ModelProto) -> dict[str, np.ndarray]:
    tensors = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    return {name: value for name, value in tensors.items() if value.dtype == np.int8 and value.ndim == 4}


def quantised(model: ModelProto, sites: list[Site]) -> ModelProto:
    ranges = {name: 1.0 for site in sites for name in (site.source, site.result)}
    return insert(model, sites, ranges, results=True)


@pytest.mark.parametrize("levels", [None, INT7_MAX])
def test_weights_use_all_of_their_levels_and_no_more(graph: tuple[ModelProto, list[Site]], levels: int | None) -> None:
    model, sites = graph
    weights = integers(quantised(model, [replace(site, weight_levels=levels) for site in sites]))
    assert len(weights) == len(sites)
    assert all(
        (np.abs(value).reshape(len(value), -1).max(axis=1) == (levels or INT8.largest)).all()
        for value in weights.values()
    )


def test_convolutions_with_the_same_weights_get_a_tensor_each(graph: tuple[ModelProto, list[Site]]) -> None:
    """ONNX Runtime's exact products fail on INT8 weights that are shared."""
    model, sites = graph
    nodes = {node.name: node for node in model.graph.node}
    one, other = sites[:2]
    nodes[other.node].input[1] = nodes[one.node].input[1]
    weights = list(integers(quantised(model, [one, other])).values())
    assert len(weights) == 2
    assert np.array_equal(*weights)


def test_two_products_with_weights_of_7_bits_fit_into_16() -> None:
    assert 2 * 255 * INT7_MAX <= np.iinfo(np.int16).max < 2 * 255 * INT8.largest


@pytest.mark.parametrize(("narrow_ms", "levels"), [(0.5, INT7_MAX), (0.95, None), (1.1, None)])
def test_weights_lose_a_bit_only_where_that_is_much_faster(
    graph: tuple[ModelProto, list[Site]], monkeypatch: pytest.MonkeyPatch, narrow_ms: float, levels: int | None
) -> None:
    """A CPU without VNNI whose convolutions take 3 ms in FP32, 1 with weights of 8 bits, ``narrow_ms`` with 7."""

    def runner(model: ModelProto) -> Callable[[], float]:
        largest = max((int(np.abs(value).max()) for value in integers(model).values()), default=0)
        milliseconds = {0: 3.0, INT8.largest: 1.0, INT7_MAX: narrow_ms}[largest]
        return lambda: milliseconds

    monkeypatch.setattr(selection, "_runner", runner)
    monkeypatch.setattr(selection, "multiplies_int8_exactly", lambda: False)
    model, sites = graph
    chosen, _ = choose(model, sites)
    assert {site.weight_levels for site in chosen} == {levels}
    assert {int(np.abs(value).max()) for value in integers(quantised(model, chosen)).values()} == {
        levels or INT8.largest
    }
