"""FP8 (E4M3) and INT8 as we round to them, against a table of all their values and ONNX Runtime's own rounding."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from fsr_deploy.exporting.graph.sessions import open_graph
from fsr_deploy.exporting.int8.formats import FP8, INT8, NumberFormat

ml_dtypes = pytest.importorskip("ml_dtypes")  # comes with the newer releases of onnx

CODES = np.arange(256, dtype=np.uint8)
TABLE = CODES.view(ml_dtypes.float8_e4m3fn).astype(np.float32)
KNOWN = np.isfinite(TABLE)
NUMBERS = np.unique(TABLE[KNOWN])
MIDDLES = (NUMBERS[1:] + NUMBERS[:-1]) / 2
BESIDE = [np.nextafter(MIDDLES, np.float32(side)) for side in (-np.inf, np.inf)]
BEYOND = np.array([448.5, 464, 465, 480, 1e4, 6e4, -449, -480, -6e4], np.float32)
PROBES = np.concatenate([TABLE[KNOWN], MIDDLES, *BESIDE, BEYOND]).astype(np.float32)


def saturated(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return the codes of values by ml_dtypes, the largest for what is beyond it."""
    return np.clip(values, -448, 448).astype(ml_dtypes.float8_e4m3fn).view(np.uint8)


def through_onnxruntime(values: NDArray[np.floating], scale: float, number_format: NumberFormat) -> NDArray:
    """Return values after a Quantize/Dequantize pair."""
    dtype = numpy_helper.from_array(values).data_type
    ends = [helper.make_tensor_value_info(name, dtype, ["N"]) for name in ("x", "y")]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"]),
    ]
    zero = number_format.tensor("zero", number_format.codes(np.zeros((), np.float32)))
    constants = [numpy_helper.from_array(np.array(scale, values.dtype), "scale"), zero]
    graph = helper.make_graph(nodes, "pair", ends[:1], ends[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    return open_graph(model).run(None, {"x": values})[0]


def test_each_code_of_fp8_stands_for_its_number() -> None:
    assert KNOWN.sum() == 254 and NUMBERS.max() == FP8.largest
    assert np.array_equal(FP8.numbers(CODES[KNOWN]), TABLE[KNOWN])
    assert np.array_equal(FP8.codes(TABLE[KNOWN]), CODES[KNOWN])  # -0 keeps its sign


def test_values_become_the_nearest_fp8_number_the_even_one_in_the_middle_the_largest_beyond() -> None:
    assert np.array_equal(FP8.codes(PROBES), saturated(PROBES))


def test_random_values_of_all_magnitudes_become_the_nearest_fp8_number() -> None:
    random = np.random.default_rng(0)
    values = (random.standard_normal(100_000) * np.exp2(random.uniform(-14, 10, 100_000))).astype(np.float32)
    assert np.array_equal(FP8.codes(values), saturated(values))


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_onnxruntime_rounds_to_fp8_alike_on_a_cpu(dtype: type) -> None:
    values = PROBES.astype(dtype)
    assert np.array_equal(through_onnxruntime(values, 1, FP8), FP8.numbers(FP8.codes(values)).astype(dtype))


def test_onnxruntime_divides_fp16_values_by_an_fp16_scale_without_rounding_in_between() -> None:
    values = np.random.default_rng(0).standard_normal(20_000).astype(np.float16)
    scale = np.float16(0.0123)
    exact = FP8.numbers(FP8.codes(values.astype(np.float32) / np.float32(scale))) * np.float32(scale)
    assert np.array_equal(through_onnxruntime(values, scale, FP8), exact.astype(np.float16))


def test_values_become_the_nearest_int8_number_the_even_one_in_the_middle_the_largest_beyond() -> None:
    values = np.array([0.5, 1.5, -2.5, 126.6, 127.5, 400, -400], np.float32)
    assert INT8.codes(values).tolist() == [0, 2, -2, 127, 127, 127, -127]
    assert INT8.codes(values, 63).tolist() == [0, 2, -2, 63, 63, 63, -63]
    assert np.array_equal(INT8.numbers(INT8.codes(values)), through_onnxruntime(np.clip(values, -127, 127), 1, INT8))


@pytest.mark.parametrize("number_format", [INT8, FP8])
def test_a_constant_holds_the_codes(number_format: NumberFormat) -> None:
    codes = number_format.codes(np.array([[1, -3], [60, 100]], np.float32))
    tensor = number_format.tensor("weights", codes)
    assert (tensor.name, list(tensor.dims), tensor.raw_data) == ("weights", [2, 2], codes.tobytes())
    assert tensor.data_type == {INT8: TensorProto.INT8, FP8: TensorProto.FLOAT8E4M3FN}[number_format]
