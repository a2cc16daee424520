"""What INT8 multiplies in OpenVINO is what the pairs say, whatever stands between a pair and its convolution."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper

from fsr_deploy.runtime.backends.openvino_pairs import join_pairs
from fsr_deploy.runtime.machine import multiplies_int8_exactly
from fsr_deploy.runtime.open import open_session

openvino = pytest.importorskip("openvino")
WIDTH, SIDE, ZERO = 8, 8, 100
exact = pytest.mark.skipif(
    not multiplies_int8_exactly(), reason="on this CPU OpenVINO's sums of 8-bit products overflow"
)


def between(what: str) -> tuple[list[NodeProto], list[NodeProto]]:
    """Return what stands before the rounding of "wide" to "q", and what makes "d" of it: only the last few move it."""
    pair = [
        helper.make_node("QuantizeLinear", ["before", "step", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "step", "zero"], ["after"]),
    ]
    one = [helper.make_node("Identity", ["after"], ["d"])]
    if what == "nothing":
        return [helper.make_node("Concat", ["a", "b"], ["c"], axis=1), helper.make_node("Abs", ["c"], ["before"])], [
            *pair,
            *one,
        ]
    if what == "a concatenation":
        return [helper.make_node("Concat", ["a", "b"], ["before"], axis=1)], [*pair, *one]
    flat = helper.make_node("Reshape", ["c", "flat"], ["before"])
    joined = [helper.make_node("Concat", ["a", "b"], ["c"], axis=1), flat]
    return joined, [*pair, helper.make_node("Reshape", ["after", "planes"], ["d"])]


def write_graph(path: Path, what: str, zero: np.generic) -> Path:
    """Write a graph from faces to faces with one convolution in INT8."""
    rng = np.random.default_rng(0)

    def noise(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32)

    constants = {
        "step": np.float32(0.03),
        "zero": zero,
        "flat": np.array([0, 2 * WIDTH, -1], np.int64),
        "planes": np.array([0, 2 * WIDTH, SIDE, SIDE], np.int64),
        "wa": noise(WIDTH, 3, 1, 1) / 100,
        "wb": noise(WIDTH, 3, 1, 1) / 100,
        "weights": rng.integers(-127, 128, (3, 2 * WIDTH, 1, 1), np.int8),
        "weight_steps": np.full(3, 0.002, np.float32),
        "zeros": np.zeros(3, np.int8),
        "gain": np.float32(60),
        "middle": np.float32(127.5),
    }
    before, after = between(what)
    nodes = [
        helper.make_node("Cast", ["lr"], ["levels"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["levels", "middle"], ["centred"]),
        helper.make_node("Transpose", ["centred"], ["x"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["x", "wa"], ["a"]),
        helper.make_node("Conv", ["x", "wb"], ["b"]),
        *before,
        *after,
        helper.make_node("DequantizeLinear", ["weights", "weight_steps", "zeros"], ["w"], axis=0),
        helper.make_node("Conv", ["d", "w"], ["y"]),
        helper.make_node("Mul", ["y", "gain"], ["scaled"]),
        helper.make_node("Add", ["scaled", "middle"], ["faces"]),
        helper.make_node("Clip", ["faces", "low", "high"], ["clipped"]),
        helper.make_node("Transpose", ["clipped"], ["hwc"], perm=[0, 2, 3, 1]),
        helper.make_node("Cast", ["hwc"], ["sr"], to=TensorProto.UINT8),
    ]
    constants |= {"low": np.float32(0), "high": np.float32(255)}
    graph = helper.make_graph(
        nodes,
        "pairs",
        [helper.make_tensor_value_info("lr", TensorProto.UINT8, ["N", SIDE, SIDE, 3])],
        [helper.make_tensor_value_info("sr", TensorProto.UINT8, ["N", SIDE, SIDE, 3])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@exact
@pytest.mark.parametrize("zero", [np.int8(0), np.uint8(ZERO)])
@pytest.mark.parametrize("what", ["nothing", "a concatenation", "a change of shape"])
def test_int8_is_what_onnx_runtime_makes_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, zero: np.generic
) -> None:
    monkeypatch.setenv("FSR_CACHE", str(tmp_path / "cache"))
    path = write_graph(tmp_path / "model.onnx", what, zero)
    faces = np.random.default_rng(1).integers(0, 256, (2, SIDE, SIDE, 3), np.uint8)
    ours, theirs = (
        open_session(path, "cpu", backend=backend).upscale(faces) for backend in ("openvino", "onnxruntime")
    )
    assert theirs.std() > 20
    np.testing.assert_allclose(ours.astype(int), theirs, atol=1)


@pytest.mark.parametrize("zero", [np.int8(0), np.uint8(ZERO)])
def test_a_pair_becomes_one_rounding_to_the_same_numbers(tmp_path: Path, zero: np.generic) -> None:
    model = openvino.Core().read_model(write_graph(tmp_path / "model.onnx", "a concatenation", zero))
    assert join_pairs(model) == 1
    (rounding,) = (node for node in model.get_ordered_ops() if node.get_type_name() == "FakeQuantize")
    given, *ends = (rounding.input_value(index).get_node() for index in range(5))
    start = np.iinfo(zero.dtype).min - int(zero)
    assert given.get_type_name() == "Concat"
    np.testing.assert_allclose([float(end.data) for end in ends[2:]], 0.03 * np.array([start, start + 255]), rtol=1e-6)
    assert "Convert" not in {reader.get_node().get_type_name() for reader in readers(rounding)}
    assert join_pairs(model) == 0


def readers(node: Any) -> Any:
    return node.output(0).get_target_inputs()
