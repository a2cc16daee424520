"""Graphs that TensorRT's parser would refuse or misread are refused at export, with the module named."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from fsr_deploy.errors import InputError
from fsr_deploy.exporting.graph.onnx_writer import check_operators
from fsr_deploy.exporting.int8.formats import FP8

FLOAT, UINT8 = TensorProto.FLOAT, TensorProto.UINT8


def model(
    *nodes: tuple[Any, ...],
    opset: int = 18,
    dtype: int = FLOAT,
    constants: Mapping[str, np.ndarray | TensorProto] | None = None,
    shape: tuple[int, ...] = (1, 3, 8, 8),
) -> ModelProto:
    """Return a graph from "lr" to "sr"; a node is (module, type, inputs, outputs, attributes)."""
    graph = helper.make_graph(
        [
            helper.make_node(kind, inputs, outputs, name=f"{module}/{kind}_0", **attributes)
            for module, kind, inputs, outputs, attributes in nodes
        ],
        "graph",
        [helper.make_tensor_value_info("lr", dtype, ["N", *shape[1:]])],
        [helper.make_tensor_value_info("sr", dtype, None)],
        [
            value if isinstance(value, TensorProto) else numpy_helper.from_array(value, name)
            for name, value in (constants or {}).items()
        ],
    )
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    )


SCALES = {"scales": np.array([1, 1, 2, 2], np.float32)}
NEAREST = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}


def resize(**attributes: str) -> ModelProto:
    return model(("up", "Resize", ["lr", "", "scales"], ["sr"], attributes), constants=SCALES)


def top(count: int, **attributes: int) -> ModelProto:
    constants = {"count": np.array([count], np.int64)}
    return model(("best", "TopK", ["lr", "count"], ["sr", "where"], attributes), constants=constants)


def quantized(scale: float, zero_point: np.ndarray | TensorProto) -> ModelProto:
    constants: dict[str, np.ndarray | TensorProto] = {"scale": np.array(scale, np.float32), "zero": zero_point}
    return model(
        ("conv", "QuantizeLinear", ["lr", "scale", "zero"], ["q"], {}),
        ("conv", "DequantizeLinear", ["q", "scale", "zero"], ["sr"], {}),
        constants=constants,
    )


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (model(("body.0", "Det", ["lr"], ["sr"], {})), "body.0: the operator Det"),
        (model(("", "Det", ["lr"], ["sr"], {})), "the graph: the operator Det"),
        (model(("ffn", "Gelu", ["lr"], ["sr"], {}), opset=17), "ffn: the operator Gelu"),
        (model(("a", "FusedConv", ["lr"], ["sr"], {"domain": "com.microsoft"})), "a: the operator com.microsoft.Fused"),
        (resize(mode="cubic"), "up: Resize other than nearest"),
        (resize(mode="linear", coordinate_transformation_mode="align_corners"), "up: Resize other than nearest"),
        (resize(mode="nearest"), "up: Resize other than nearest"),
        (model(("t", "Transpose", ["lr"], ["sr"], {"perm": [0, 2, 3, 1]}), dtype=UINT8), "t: Transpose on uint8"),
        (
            model(
                ("a", "Cast", ["lr"], ["f"], {"to": FLOAT}),
                ("b", "Cast", ["f"], ["u"], {"to": UINT8}),
                ("b", "Cast", ["u"], ["g"], {"to": FLOAT}),
                ("b", "Cast", ["g"], ["sr"], {"to": UINT8}),
                dtype=UINT8,
            ),
            "b: Cast on uint8",
        ),
        (
            model(
                ("a", "Cast", ["lr"], ["d"], {"to": TensorProto.DOUBLE}), ("b", "Cast", ["d"], ["sr"], {"to": FLOAT})
            ),
            "a: Cast in FP64",
        ),
        (model(("p", "MaxPool", ["lr"], ["sr", "where"], {"kernel_shape": [2, 2]})), "p: MaxPool with indices"),
        (top(4, sorted=0), "best: TopK without sorting"),
        (top(3840), "best: TopK of more than 3839 values"),
        (
            model(("warp", "GridSample", ["lr", "grid"], ["sr"], {}), shape=(1, 3, 4, 8, 8)),
            "warp: GridSample of other than (N, C, H, W)",
        ),
        (quantized(0.0, np.array(0, np.int8)), "conv: QuantizeLinear with a scale"),
        (quantized(0.1, np.array(3, np.int8)), "conv: QuantizeLinear with a zero point"),
        (quantized(0.1, np.array(0, np.uint8)), "conv: QuantizeLinear to another type"),
    ],
)
def test_what_the_parser_does_not_take_is_named_with_its_module(graph: ModelProto, message: str) -> None:
    with pytest.raises(InputError, match="write these modules differently") as raised:
        check_operators(graph)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    "graph",
    [
        resize(**NEAREST),
        top(4),
        model(("warp", "GridSample", ["lr", "lr"], ["sr"], {}), opset=17),
        model(("sum", "CumSum", ["lr", "scales"], ["sr"], {}), opset=17, constants=SCALES),
        quantized(0.1, np.array(0, np.int8)),
        quantized(0.1, FP8.tensor("zero", np.zeros((), np.uint8))),
        model(("ffn", "Gelu", ["lr"], ["sr"], {}), opset=20),
        model(("", "Cast", ["lr"], ["f"], {"to": FLOAT}), ("", "Cast", ["f"], ["sr"], {"to": UINT8}), dtype=UINT8),
    ],
    ids=[
        "nearest",
        "top-k",
        "grid-sample-of-8.6",
        "cumulative-sum",
        "symmetric",
        "fp8",
        "gelu-since-10",
        "uint8-at-the-ends",
    ],
)
def test_what_the_parser_takes_passes(graph: ModelProto) -> None:
    check_operators(graph)
