"""The operators that TensorRT's ONNX parser accepts, checked for every graph that is written for it, so that no plan
fails later.

From the parser's operator documentation (onnx-tensorrt, docs/operators.md) and sources of 8.6 of May 2023 and 10.1 of
June 2024; later releases take more. The parser refuses some operators with a message and computes others wrongly
without one; both are found here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from fsr_deploy.exporting.graph import opset17
from fsr_deploy.exporting.graph.shapes import tensor_ranks, tensor_types

_TAKEN = """
    Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh AveragePool BatchNormalization Cast Ceil Celu
    Clip Concat Constant ConstantOfShape Conv ConvTranspose Cos Cosh CumSum DepthToSpace DequantizeLinear Div
    Dropout Einsum Elu Equal Erf Exp Expand EyeLike Flatten Floor GRU Gather GatherElements GatherND Gemm
    GlobalAveragePool GlobalLpPool GlobalMaxPool Greater GreaterOrEqual GridSample GroupNormalization
    HardSigmoid HardSwish Identity If InstanceNormalization IsInf IsNaN LRN LSTM LayerNormalization LeakyRelu
    Less LessOrEqual Log LogSoftmax Loop LpNormalization LpPool MatMul Max MaxPool Mean
    MeanVarianceNormalization Min Mod Mul Neg NonMaxSuppression NonZero Not OneHot Or PRelu Pad Pow
    QuantizeLinear RNN RandomNormal RandomNormalLike RandomUniform RandomUniformLike Range Reciprocal ReduceL1
    ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare
    Relu Reshape Resize ReverseSequence RoiAlign Round Scan ScatterElements ScatterND Selu Shape Shrink Sigmoid
    Sign Sin Sinh Size Slice Softmax Softplus Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum Tan Tanh
    ThresholdedRelu Tile TopK Transpose Trilu Unsqueeze Where Xor
"""
TAKEN = frozenset(_TAKEN.split())
TAKEN_AFTER_8_6 = frozenset({"CastLike", "DeformConv", "Gelu", "Hardmax", "Mish"})
MOST_OF_TOPK = 3839
RESIZE_NEAREST = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
HALF_PIXEL = ("half_pixel", "pytorch_half_pixel")  # of which the second differs for sides of one pixel only


@dataclass(frozen=True)
class _Graph:
    """Data for the rules: element types and ranks by tensor name, constants, the names of the graph's inputs and
    outputs."""

    opset: int
    types: Mapping[str, int]
    ranks: Mapping[str, int]
    constants: Mapping[str, NDArray[np.generic]]
    ends: frozenset[str]


def faults(model: ModelProto) -> list[tuple[str, str]]:
    """Return (node name, what is wrong with it) for each node that TensorRT would refuse or misread.

    A graph of opset 17 is meant for TensorRT 8.6, later ones for TensorRT 10 and newer.
    """
    graph = _facts(model)
    return [(node.name, fault) for node in model.graph.node for fault in _faults(node, graph)]


def _facts(model: ModelProto) -> _Graph:
    graph = model.graph
    return _Graph(
        opset=next(entry.version for entry in model.opset_import if not entry.domain),
        types=tensor_types(model, strict=False),
        ranks=tensor_ranks(model),
        constants={tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer},
        ends=frozenset(value.name for value in (*graph.input, *graph.output)),
    )


def _faults(node: NodeProto, graph: _Graph) -> Iterator[str]:
    """Yield what is wrong with a node, in words."""
    taken = TAKEN if graph.opset <= opset17.OPSET else TAKEN | TAKEN_AFTER_8_6
    if node.domain or node.op_type not in taken:
        yield f"the operator {node.domain + '.' if node.domain else ''}{node.op_type}"
    for rule in (_uint8_at_the_ends, _no_double, *_RULES.get(node.op_type, ())):
        if fault := rule(node, graph):
            yield f"{node.op_type} {fault}"


def _uint8_at_the_ends(node: NodeProto, graph: _Graph) -> str | None:
    names = [name for name in (*node.input, *node.output) if graph.types.get(name) == TensorProto.UINT8]
    if names and (node.op_type != "Cast" or not graph.ends.issuperset(names)):
        return "on uint8, which only a Cast at the graph's input or output may touch"
    return None


def _no_double(node: NodeProto, graph: _Graph) -> str | None:
    return "in FP64" if any(graph.types.get(name) == TensorProto.DOUBLE for name in node.output) else None


def _no_transposed_bf16(node: NodeProto, graph: _Graph) -> str | None:
    if graph.types.get(node.input[0]) == TensorProto.BFLOAT16:
        return "in BF16, which TensorRT does not build; give its module a fp32_reason, or use nn.ConvTranspose2d"
    return None


def _plain_resize(node: NodeProto, graph: _Graph) -> str | None:
    given = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    defaults = {
        "mode": b"nearest",
        "coordinate_transformation_mode": b"half_pixel",
        "nearest_mode": b"round_prefer_floor",
    }
    words = {name: value.decode() for name, value in {**defaults, **given}.items() if isinstance(value, bytes)}
    linear = words["mode"] == "linear" and words["coordinate_transformation_mode"] in HALF_PIXEL
    if (linear and not given.get("antialias")) or RESIZE_NEAREST.items() <= words.items():
        return None
    return "other than nearest, asymmetric and floor, or linear and half_pixel, where engines differ"


def _no_indices(node: NodeProto, graph: _Graph) -> str | None:
    return "with indices" if len(node.output) > 1 and node.output[1] else None


def _sorted_few(node: NodeProto, graph: _Graph) -> str | None:
    given = {attribute.name: attribute.i for attribute in node.attribute}
    count = np.asarray(graph.constants.get(node.input[1], 0), np.int64)
    if not given.get("sorted", 1):
        return "without sorting"
    return f"of more than {MOST_OF_TOPK} values" if np.any(count > MOST_OF_TOPK) else None


def _of_images(node: NodeProto, graph: _Graph) -> str | None:
    return None if graph.ranks.get(node.input[0], 4) == 4 else "of other than (N, C, H, W)"


def _symmetric(node: NodeProto, graph: _Graph) -> str | None:
    scale = graph.constants.get(node.input[1])
    if scale is None or not (np.asarray(scale, np.float64) > 0).all():
        return "with a scale that is not constant or not above 0"
    if len(node.input) < 3 or graph.types.get(node.input[2]) not in (TensorProto.INT8, TensorProto.FLOAT8E4M3FN):
        return "to another type than int8 and float8e4m3fn"
    zero_point = graph.constants.get(node.input[2])
    return "with a zero point other than 0" if zero_point is None or np.any(zero_point) else None


_Rule = Callable[[NodeProto, _Graph], str | None]
_RULES: dict[str, tuple[_Rule, ...]] = {
    "ConvTranspose": (_no_transposed_bf16,),
    "Resize": (_plain_resize,),
    "MaxPool": (_no_indices,),
    "TopK": (_sorted_few,),
    "GridSample": (_of_images,),
    "QuantizeLinear": (_symmetric,),
    "DequantizeLinear": (_symmetric,),
}
