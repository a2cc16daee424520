"""A CPU multiplies 8-bit weights in the way that is fastest there: 7 bits only without VNNI, matrices only with AMX."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from fsr_deploy.exporting.graph.sessions import open_graph
from fsr_deploy.exporting.int8 import timing
from fsr_deploy.exporting.int8.qdq import insert
from fsr_deploy.exporting.int8.sites import INT7_MAX, Site
from fsr_deploy.exporting.int8.timing import MATRIX_PRODUCT, measure

SITE = Site("conv", "conv/Conv_0", "x", "y", private=True)
AVX2, VNNI, AMX = ("avx2",), ("avx2", "avx512_vnni"), ("avx2", "avx512_vnni", "amx_int8")


def unit(channels: int = 16, kernel: int = 3) -> ModelProto:
    """Return a convolution and its activation, with weights that reach both ends of 8 bits."""
    weights = np.random.default_rng(2).uniform(-1, 1, (channels, channels, kernel, kernel)).astype(np.float32)
    weights[:, 0, 0, 0], weights[:, 1, 0, 0] = 1.0, -1.0
    shape = [1, channels, 8, 8]
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "w"], ["y"], SITE.node, pads=[kernel // 2] * 4),
            helper.make_node("Relu", ["y"], ["z"], "conv/Relu_1"),
        ],
        "unit",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(weights, "w")],
        value_info=[helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("channels", [12, 16])
@pytest.mark.parametrize("levels", [None, INT7_MAX])
def test_both_ways_give_the_same_values(kernel: int, channels: int, levels: int | None) -> None:
    model = unit(channels, kernel)
    ranges = {"x": 3.0, "y": 40.0}
    x = np.random.default_rng(3).standard_normal((1, channels, 8, 8)).astype(np.float32)
    ways = [
        insert(model, [replace(SITE, weight_levels=levels, weight_zero=zero)], ranges, results=True)
        for zero in (0, MATRIX_PRODUCT)
    ]
    direct, product = (open_graph(way).run(None, {"x": x})[0] for way in ways)
    assert np.array_equal(direct, product) and direct.std() > 0.1


def test_the_weights_are_the_same_numbers_counted_from_another_one() -> None:
    codes, zeros = [], []
    for zero in (0, MATRIX_PRODUCT):
        model = insert(unit(), [replace(SITE, weight_zero=zero)], {"x": 3.0, "y": 40.0}, results=True)
        tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
        codes.append(tensors["w/int8"].astype(int))
        zeros.append(tensors["w/zero"].astype(int))
    assert np.array_equal(codes[0] - zeros[0][:, None, None, None], codes[1] - zeros[1][:, None, None, None])
    assert (codes[0].min(), codes[0].max(), codes[1].min(), codes[1].max()) == (-127, 127, -128, 126)
    assert set(zeros[0]) == {0} and set(zeros[1]) == {MATRIX_PRODUCT}


@pytest.mark.parametrize(
    ("has", "milliseconds", "levels", "zero"),
    [
        (AVX2, [9.0, 5.0, 3.0], INT7_MAX, 0),
        (AVX2, [9.0, 5.0, 4.9], None, 0),
        (VNNI, [9.0, 5.0], None, 0),
        (AMX, [9.0, 5.0, 3.0], None, MATRIX_PRODUCT),
        (AMX, [9.0, 5.0, 8.0], None, 0),
    ],
)
def test_the_way_that_measures_fastest_is_taken(
    has: tuple[str, ...],
    milliseconds: list[float],
    levels: int | None,
    zero: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    times: Iterator[float] = iter(milliseconds)
    monkeypatch.setattr(timing, "instructions", lambda: has)
    monkeypatch.setattr(timing, "multiplies_int8_exactly", lambda: has != AVX2)

    def runner(model: ModelProto) -> Callable[[], float]:
        ms = next(times)
        return lambda: ms

    monkeypatch.setattr(timing, "_runner", runner)
    found = measure(unit(), SITE)
    assert (found.weight_levels, found.weight_zero) == (levels, zero)
    assert next(times, None) is None, "no more ways were timed than this CPU has"
