"""The form for Turing computes what the graph computed, without an FP32 matrix product in it."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from fsr_deploy.exporting.graph.sessions import open_graph, run_graph
from fsr_deploy.exporting.graph.turing import without_fp32_products


def product(
    left: Any, right: Any, dtype: int = TensorProto.FLOAT
) -> tuple[onnx.ModelProto, dict[str, tuple[int, ...]]]:
    """Return the graph of one product; a tuple is the shape of an input, an array a constant."""
    shapes = {name: given for name, given in (("x", left), ("y", right)) if isinstance(given, tuple)}
    constants = {name: given for name, given in (("x", left), ("y", right)) if not isinstance(given, tuple)}
    inputs = [helper.make_tensor_value_info(name, dtype, ["N", *shape]) for name, shape in shapes.items()]
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "y"], ["z"], "blocks.0/MatMul_7")],
        "product",
        inputs,
        [helper.make_tensor_value_info("z", dtype, None)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return onnx.shape_inference.infer_shapes(model), shapes


VALUES = np.random.default_rng(0)
MATRIX = VALUES.standard_normal((5, 7)).astype(np.float32)


@pytest.mark.parametrize(
    ("left", "right", "operator"),
    [
        ((3, 4, 5), MATRIX, "Conv"),
        (MATRIX, (3, 7, 6), "Conv"),
        ((3, 4, 6), (3, 6, 5), "ReduceSum"),
        ((4, 6), (6, 5), "ReduceSum"),
        ((4, 5), MATRIX, "ReduceSum"),
    ],
)
def test_a_product_in_fp32_gets_another_form_and_keeps_its_value(left: Any, right: Any, operator: str) -> None:
    model, shapes = product(left, right)
    inputs = {name: VALUES.standard_normal((2, *shape)).astype(np.float32) for name, shape in shapes.items()}
    x, y = (inputs.get(name, given) for name, given in (("x", left), ("y", right)))
    without_fp32_products(model)
    onnx.checker.check_model(model, full_check=True)
    assert operator in [node.op_type for node in model.graph.node]
    assert "MatMul" not in [node.op_type for node in model.graph.node]
    assert all(node.name.startswith("blocks.0/") and node.name for node in model.graph.node)
    assert len({node.name for node in model.graph.node}) == len(model.graph.node)
    result = open_graph(model).run(None, inputs)[0]
    assert np.allclose(result, x.astype(np.float64) @ y.astype(np.float64), atol=1e-5)


def test_a_product_in_fp16_stays() -> None:
    model, _ = product((3, 4, 6), (3, 6, 5), TensorProto.FLOAT16)
    without_fp32_products(model)
    assert [node.op_type for node in model.graph.node] == ["MatMul"]


def test_the_bicubic_of_levels_is_the_same_to_the_bit() -> None:
    from fsr_deploy.exporting.graph.bicubic import weights

    levels = VALUES.integers(0, 256, (2, 3, 16, 16)).astype(np.float32)
    for left, right in (((3, 16, 16), weights(16, 8).T.contiguous().numpy()), (weights(16, 8).numpy(), (3, 16, 16))):
        model, _ = product(left, right)
        before = run_graph(model, levels)
        without_fp32_products(model)
        assert np.array_equal(np.floor(run_graph(model, levels) + 0.5), np.floor(before + 0.5))
