"""INT8 on a CPU: the products of an engine are summed exactly, also where the fastest kernels would overflow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from fsr_deploy.runtime.backends import onnxruntime as ours
from fsr_deploy.runtime.backends.onnxruntime import EXACT_PRODUCTS, SHARED_WEIGHTS, session_options
from fsr_deploy.runtime.open import open_session

LEVELS = 127
WIDTH = 64


def write_loud_graph(path: Path) -> Path:
    """Write a graph whose one INT8 convolution multiplies the largest activations and the largest weights."""
    zero = {"zero": np.int8(0), "zeros": np.zeros(3, np.int8)}
    weights = np.full((3, WIDTH, 3, 3), LEVELS, np.int8)
    weights[0], weights[1, ::2] = -LEVELS, LEVELS // 2
    constants = {
        **zero,
        "spread": np.full((WIDTH, 3, 1, 1), 1 / 255 / 3, np.float32),
        "step": np.float32(1 / LEVELS),
        "weights": weights,
        "weight_steps": np.full(3, 1 / LEVELS, np.float32),
        "result_step": np.float32(9 * WIDTH / LEVELS),
        "gain": np.float32(127.5 / 9 / WIDTH),
        "middle": np.float32(127.5),
    }
    nodes = [
        helper.make_node("Cast", ["lr"], ["levels"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["levels"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["planes", "spread"], ["x"]),
        helper.make_node("QuantizeLinear", ["x", "step", "zero"], ["x_int8"]),
        helper.make_node("DequantizeLinear", ["x_int8", "step", "zero"], ["x_rounded"]),
        helper.make_node("DequantizeLinear", ["weights", "weight_steps", "zeros"], ["w"], axis=0),
        helper.make_node("Conv", ["x_rounded", "w"], ["y"], pads=[1, 1, 1, 1]),
        helper.make_node("QuantizeLinear", ["y", "result_step", "zero"], ["y_int8"]),
        helper.make_node("DequantizeLinear", ["y_int8", "result_step", "zero"], ["y_rounded"]),
        helper.make_node("Mul", ["y_rounded", "gain"], ["scaled"]),
        helper.make_node("Add", ["scaled", "middle"], ["faces"]),
        helper.make_node("Transpose", ["faces"], ["hwc"], perm=[0, 2, 3, 1]),
        helper.make_node("Cast", ["hwc"], ["sr"], to=TensorProto.UINT8),
    ]
    graph = helper.make_graph(
        nodes,
        "loud",
        [helper.make_tensor_value_info("lr", TensorProto.UINT8, ["N", 8, 8, 3])],
        [helper.make_tensor_value_info("sr", TensorProto.UINT8, ["N", 8, 8, 3])],
        [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_large_activations_times_large_weights_do_not_overflow(tmp_path: Path) -> None:
    """A white face: in the middle, where no border is padded, the sums are -1, 3/4 and 1 of the largest."""
    session = open_session(write_loud_graph(tmp_path / "loud.onnx"))
    face = session.upscale(np.full((1, 8, 8, 3), 255, np.uint8))[0, 4, 4]
    np.testing.assert_allclose(face, (0, 127.5 + 127.5 * (1 + 63 / 127) / 2, 255), atol=1)


def test_a_graph_that_onnx_runtime_cannot_multiply_exactly_runs_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """As with weights that two convolutions share, on a CPU without VNNI."""
    monkeypatch.setattr(ours, "multiplies_int8_exactly", lambda: False)
    real = onnxruntime.InferenceSession

    def session(content: bytes, options: onnxruntime.SessionOptions, **others: object) -> onnxruntime.InferenceSession:
        if options.get_session_config_entry(EXACT_PRODUCTS) == "1":
            raise RuntimeError(f"Exception during initialization: {SHARED_WEIGHTS}")
        return real(content, options, **others)

    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    engine = open_session(write_loud_graph(tmp_path / "loud.onnx"))
    assert engine.upscale(np.zeros((1, 8, 8, 3), np.uint8)).shape == (1, 8, 8, 3)
    assert "share INT8 weights" in capfd.readouterr().err


@pytest.mark.parametrize(("vnni", "asked"), [(True, "0"), (False, "1")])
def test_the_slow_exact_products_are_asked_for_where_the_fast_ones_overflow(
    vnni: bool, asked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ours, "multiplies_int8_exactly", lambda: vnni)
    assert session_options(onnxruntime).get_session_config_entry(EXACT_PRODUCTS) == asked
