"""A bias in an engine of 8 bits and FP16 survives ONNX Runtime, which rounds biases to steps too small for FP16."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from fsr_deploy.bundle.info import MIXES
from fsr_deploy.exporting.graph.sessions import open_graph
from fsr_deploy.runtime.open import open_session

BIAS = 96.0
STEP = 2.0**-9  # of the input, which is below 0.25, and of the weights: 25 million of their products are one BIAS


def write_biased_graph(path: Path, precision: str) -> onnx.ModelProto:
    """Write a graph whose one convolution, between two pairs, gives BIAS and very little more, all in FP16."""
    constants = {
        "zero": np.int8(0),
        "dim": np.float16(1e-3),
        "step": np.float16(STEP),
        "weights": np.full((3, 3, 1, 1), STEP, np.float16),
        "steps": np.full(3, STEP, np.float16),
        "zeros": np.zeros(3, np.int8),
        "bias": np.full(3, BIAS, np.float16),
        "result_step": np.float16(1),
    }
    nodes = [
        helper.make_node("Cast", ["lr"], ["levels"], to=TensorProto.FLOAT16),
        helper.make_node("Mul", ["levels", "dim"], ["dimmed"]),
        helper.make_node("Transpose", ["dimmed"], ["x"], perm=[0, 3, 1, 2]),
        helper.make_node("QuantizeLinear", ["x", "step", "zero"], ["x8"]),
        helper.make_node("DequantizeLinear", ["x8", "step", "zero"], ["rounded"]),
        helper.make_node("QuantizeLinear", ["weights", "steps", "zeros"], ["w8"], axis=0),
        helper.make_node("DequantizeLinear", ["w8", "steps", "zeros"], ["w"], axis=0),
        helper.make_node("Conv", ["rounded", "w", "bias"], ["y"]),
        helper.make_node("QuantizeLinear", ["y", "result_step", "zero"], ["y8"]),
        helper.make_node("DequantizeLinear", ["y8", "result_step", "zero"], ["planes"]),
        helper.make_node("Transpose", ["planes"], ["faces"], perm=[0, 2, 3, 1]),
        helper.make_node("Cast", ["faces"], ["sr"], to=TensorProto.UINT8),
    ]
    graph = helper.make_graph(
        nodes,
        "biased",
        [helper.make_tensor_value_info("lr", TensorProto.UINT8, ["N", 4, 4, 3])],
        [helper.make_tensor_value_info("sr", TensorProto.UINT8, ["N", 4, 4, 3])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    helper.set_model_props(model, {"fsr.precision": precision})
    onnx.save(model, path)
    return model


@pytest.mark.parametrize("precision", MIXES)
def test_a_bias_is_not_lost(tmp_path: Path, precision: str) -> None:
    model = write_biased_graph(tmp_path / "biased.onnx", precision)
    face = np.full((1, 4, 4, 3), 200, np.uint8)
    for faces in (
        open_session(tmp_path / "biased.onnx", "cpu").upscale(face),
        open_graph(model).run(None, {"lr": face})[0],
    ):
        assert (faces == BIAS).all()
