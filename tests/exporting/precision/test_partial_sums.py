"""The worst that FP16 kernels may do: sums rounded on the way, where results are stored in FP16 and nowhere else."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from fsr_deploy.exporting.graph.sessions import run_graph
from fsr_deploy.exporting.precision.emulate import as_typed_by_8_6, rounded
from fsr_deploy.exporting.precision.partial_sums import PRODUCTS, with_rounded_sums

LONG = 3 * PRODUCTS
FEW = np.zeros(LONG)
FEW[::PRODUCTS] = (2048, 1, 1)  # one in each part; at 2048 FP16 has steps of 2: a 1 is lost, two together are not
Node = tuple[str, list[str], dict[str, Any]]


def graph(*nodes: Node, shape: tuple[int, ...], half: bool = True, **constants: np.ndarray) -> ModelProto:
    """Return a graph of nodes (type, inputs, attributes) in FP16 or FP32, from FP32 "x" over "a" and "b" to "y".

    A node's result is "b" for the last one, "v" for those before.
    """
    dtype = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    results = [*["v"] * (len(nodes) - 1), "b"]
    inner = [
        helper.make_node(kind, inputs, [result], f"net/{kind}_{at}", **attributes)
        for at, ((kind, inputs, attributes), result) in enumerate(zip(nodes, results, strict=True))
    ]
    ends = [helper.make_tensor_value_info("x", 1, ["N", *shape]), helper.make_tensor_value_info("y", 1, None)]
    first, last = (helper.make_node("Cast", [a], [b], to=to) for a, b, to in (("x", "a", dtype), ("b", "y", 1)))
    floats = helper.tensor_dtype_to_np_dtype(dtype)
    tensors = [
        numpy_helper.from_array(value.astype(floats) if value.dtype.kind == "f" else value, name)
        for name, value in constants.items()
    ]
    model = helper.make_model(
        helper.make_graph([first, *inner, last], "g", ends[:1], ends[1:], tensors),
        opset_imports=[helper.make_opsetid("", 19)],
        ir_version=9,
    )
    return onnx.shape_inference.infer_shapes(model)


def both(model: ModelProto, x: np.ndarray) -> list[list[float]]:
    """Return what the rounded graph gives, and the same with rounded sums, each value once."""
    given = [model, with_rounded_sums(model)]
    return [sorted({float(value) for value in run_graph(each, x.astype(np.float32)).ravel()}) for each in given]


@pytest.mark.parametrize(
    ("operation", "weight", "shape"),
    [
        (("Conv", ["a", "w"], {}), FEW[None, :, None, None], (LONG, 1, 1)),
        (("Conv", ["a", "w"], {}), FEW.reshape(1, -1, 2, 2), (LONG // 4, 2, 2)),
        (("Conv", ["a", "w"], {}), FEW.reshape(1, -1, 4), (LONG // 4, 4)),
        (("ConvTranspose", ["a", "w"], {}), FEW[:, None, None, None], (LONG, 1, 1)),
        (("ConvTranspose", ["a", "w"], {"strides": [2, 2]}), FEW[:, None, None, None] * np.ones((2, 2)), (LONG, 1, 1)),
        (("MatMul", ["a", "w"], {}), FEW[:, None], (1, LONG)),
        (("MatMul", ["a", "w"], {}), FEW, (1, LONG)),
        (("Gemm", ["a", "w"], {}), FEW[:, None], (LONG,)),
        (("Gemm", ["a", "w"], {"transB": 1}), FEW[None], (LONG,)),
    ],
)
def test_every_sum_is_rounded_after_each_part_of_it(
    operation: Node, weight: np.ndarray, shape: tuple[int, ...]
) -> None:
    model = rounded(graph(operation, shape=shape, w=weight), "fp16")
    assert both(model, np.ones((2, *shape))) == [[2050.0], [2048.0]]


@pytest.mark.parametrize("operation", ["Conv", "ConvTranspose", "Gemm"])
def test_a_bias_is_added_once_and_after_the_sum(operation: str) -> None:
    weight = {"Conv": FEW[None, :, None], "ConvTranspose": FEW[:, None, None], "Gemm": FEW[:, None]}[operation]
    shape = (LONG,) if operation == "Gemm" else (LONG, 1)
    model = graph((operation, ["a", "w", "bias"], {}), shape=shape, w=weight, bias=np.array([4.0]))
    assert both(rounded(model, "fp16"), np.ones((2, *shape))) == [[2054.0], [2052.0]]


@pytest.mark.parametrize(
    ("operation", "weight", "attributes"),
    [
        ("Conv", (6, 40, 3, 3), {"pads": [1, 0, 2, 1], "strides": [2, 1], "dilations": [1, 2]}),
        ("Conv", (40, 1, 3, 3), {"group": 40, "pads": [1, 1, 1, 1]}),
        ("ConvTranspose", (40, 5, 4, 4), {"pads": [1, 1, 1, 1], "strides": [2, 2], "output_padding": [1, 0]}),
        ("ConvTranspose", (40, 2, 2, 2), {"group": 2, "strides": [2, 2]}),
    ],
)
def test_operations_of_any_geometry_stay_what_they_are(
    operation: str, weight: tuple[int, ...], attributes: dict[str, Any]
) -> None:
    values = np.random.default_rng(0).standard_normal
    model = rounded(graph((operation, ["a", "w"], attributes), shape=(40, 7, 8), w=values(weight)), "fp16")
    x = values((2, 40, 7, 8)).astype(np.float32)
    exact = run_graph(model, x)
    assert np.allclose(run_graph(with_rounded_sums(model), x), exact, rtol=0.01, atol=0.1)
    assert np.abs(exact).max() > 10


def test_sums_in_fp32_are_left_alone() -> None:
    model = graph(("Conv", ["a", "w"], {}), shape=(LONG, 1, 1), half=False, w=FEW[None, :, None, None])
    assert both(model, np.ones((1, LONG, 1, 1))) == [[2050.0], [2050.0]]


@pytest.mark.parametrize("typed_by_8_6", [False, True])
def test_sums_of_8_bit_weights_are_integers_and_left_alone(typed_by_8_6: bool) -> None:
    integers = np.zeros((1, LONG, 1, 1), np.int8)
    integers[0, ::PRODUCTS, 0, 0] = (127, 1, 1)
    model = graph(
        ("DequantizeLinear", ["w", "scale", "zero"], {"axis": 0}),
        ("Conv", ["a", "v"], {}),
        shape=(LONG, 1, 1),
        half=not typed_by_8_6,
        w=integers,
        scale=np.ones(1),
        zero=np.zeros(1, np.int8),
    )
    model = as_typed_by_8_6(model, lambda module: False) if typed_by_8_6 else rounded(model, "fp16")
    x = np.ones((1, LONG, 1, 1))
    x[0, 0] = 16.125  # times 127 that is 2048 in FP16, from where a 1 is lost, two together are not
    assert both(model, x) == [[2050.0], [2050.0]]


def test_an_overflow_inside_a_sum_is_seen_though_its_result_is_small() -> None:
    weight = np.repeat((4000.0, -4000.0), PRODUCTS)[None, :, None, None]
    model = rounded(graph(("Conv", ["a", "w"], {}), shape=(2 * PRODUCTS, 1, 1), w=weight), "fp16")
    x = np.ones((1, 2 * PRODUCTS, 1, 1), np.float32)
    assert run_graph(model, x).item() == 0.0
    assert not np.isfinite(run_graph(with_rounded_sums(model), x)).any()
