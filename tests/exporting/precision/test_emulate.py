"""A graph that rounds like a half-precision unit: bit for bit where one operation follows another."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from fsr_deploy.exporting.precision.emulate import TYPES, rounded

X = np.array([0.1, 0.3, -0.7, 65000.0, 1e-7, 3.14159], np.float32)
DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}


def graph(precision: str) -> onnx.ModelProto:
    """Return y = (x + 1000 - 1000) * 2 computed in a precision, float32 at both ends, one constant held in a node."""
    dtype = TYPES[precision]
    two = helper.make_tensor("two", dtype, [], [2.0])
    nodes = [
        helper.make_node("Cast", ["x"], ["a"], to=dtype),
        helper.make_node("Constant", [], ["two"], value=two),
        helper.make_node("Add", ["a", "thousand"], ["b"]),
        helper.make_node("Sub", ["b", "thousand"], ["c"]),
        helper.make_node("Mul", ["c", "two"], ["d"]),
        helper.make_node("Cast", ["d"], ["y"], to=TensorProto.FLOAT),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N"]) for name in "xy"]
    thousand = helper.make_tensor("thousand", dtype, [], [1000.0])
    model = helper.make_graph(nodes, "g", ends[:1], ends[1:], [thousand])
    return helper.make_model(model, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_each_result_is_rounded_as_pytorch_rounds_it(precision: str) -> None:
    model = rounded(graph(precision), precision)
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    x = torch.from_numpy(X).to(DTYPES[precision])
    expected = ((x + 1000 - 1000) * 2).float().numpy()
    assert np.array_equal(session.run(None, {"x": X})[0], expected)


def test_pairs_of_quantize_and_dequantize_keep_their_fp16_scales() -> None:
    scale, zero = np.array(0.0371, np.float16), np.array(0, np.int8)
    nodes = [
        helper.make_node("Cast", ["x"], ["a"], to=TensorProto.FLOAT16),
        helper.make_node("QuantizeLinear", ["a", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["b"]),
        helper.make_node("Cast", ["b"], ["y"], to=TensorProto.FLOAT),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N"]) for name in "xy"]
    constants = [numpy_helper.from_array(scale, "scale"), numpy_helper.from_array(zero, "zero")]
    model = helper.make_model(
        helper.make_graph(nodes, "g", ends[:1], ends[1:], constants),
        opset_imports=[helper.make_opsetid("", 19)],
        ir_version=9,
    )
    x = np.random.default_rng(0).uniform(-6, 6, 1000).astype(np.float32)
    steps = np.clip(np.rint(x.astype(np.float16) / scale.astype(np.float32)), -128, 127)
    session = onnxruntime.InferenceSession(
        rounded(model, "fp16").SerializeToString(), providers=["CPUExecutionProvider"]
    )
    expected = (steps * scale.astype(np.float32)).astype(np.float16)
    assert np.array_equal(session.run(None, {"x": x})[0], expected.astype(np.float32))


def test_an_overflow_happens_as_it_would_on_a_gpu() -> None:
    session = onnxruntime.InferenceSession(
        rounded(graph("fp16"), "fp16").SerializeToString(), providers=["CPUExecutionProvider"]
    )
    assert np.isinf(session.run(None, {"x": np.array([65000.0], np.float32)})[0])


def test_the_weights_and_the_rim_stay_as_they_are() -> None:
    model = graph("fp16")
    before = model.SerializeToString()
    wide = rounded(model, "fp16")
    assert model.SerializeToString() == before
    assert [*wide.graph.input, *wide.graph.output] == [*model.graph.input, *model.graph.output]
    assert numpy_helper.to_array(wide.graph.initializer[0]) == np.float32(1000)
