"""FP16 at its worst: a graph whose sums are kept in FP16 too, as fast kernels of a GPU may keep them.

A graph whose results are rounded when they are stored (emulate.py) is what kernels give that add in FP32. TensorRT is
free to take kernels that add in FP16: products are summed a few at a time, and each partial sum is rounded.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, helper, numpy_helper

from fsr_deploy.exporting.graph.shapes import tensor_shapes
from fsr_deploy.exporting.precision.emulate import EXACT, rounding

PRODUCTS = 32  # summed exactly between two roundings; a tensor core takes 16 at a time

Shapes = Mapping[str, list[int]]


@dataclass(frozen=True)
class _Sum:
    """The sum in an operation: the axis of each of its two factors that it runs along, and the sizes of its parts.

    ``bias`` is the shape that lets the third input be added to the result, None where it is added as it is.
    """

    axes: tuple[int, int]
    sizes: list[int]
    bias: list[int] | None = None


def with_rounded_sums(model: ModelProto) -> ModelProto:
    """Return a graph of FP32 kernels that rounds results to FP16 (emulate.py) with the sums in them rounded as well.

    Convolutions and matrix products are computed in parts of PRODUCTS products, and the sum is rounded after each part.
    Sums of 8-bit weights stay exact, as those of integers are and those of FP8 are taken to be, and so do those of
    grouped convolutions, which are short.
    """
    shapes = tensor_shapes(model) | {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    integers: set[str] = set()
    result = ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    del graph.value_info[:], graph.node[:]
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear" or (node.op_type == "Cast" and node.input[0] in integers):
            integers.add(node.output[0])
        is_rounded = node.output[0].endswith(EXACT) and integers.isdisjoint(node.input[1:2])
        found = _sum_in(node, shapes) if is_rounded else None
        if found is None or len(found.sizes) < 2:
            graph.node.append(node)
            continue
        numbers = {"sizes": found.sizes, **({"shape": found.bias} if found.bias and len(node.input) > 2 else {})}
        for name, value in numbers.items():
            graph.initializer.append(numpy_helper.from_array(np.array(value, np.int64), f"{node.output[0]}/{name}"))
        graph.node.extend(_in_parts(node, found))
    return result


def _sum_in(node: NodeProto, shapes: Shapes) -> _Sum | None:
    """Return the sum in an operation, None for operations without one, and where its length is not known."""
    if node.op_type not in ("Conv", "ConvTranspose", "MatMul", "Gemm"):
        return None
    one, other = (shapes.get(name, []) for name in node.input[:2])
    if not one or not other:
        return None
    options: dict[str, Any] = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
    if node.op_type in ("MatMul", "Gemm"):
        axes = (len(one) - 1, max(len(other) - 2, 0))
        if node.op_type == "Gemm":
            axes = (0 if options.get("transA") else 1, 1 if options.get("transB") else 0)
        return _Sum(axes, _sizes(one[axes[0]], PRODUCTS))
    if options.get("group", 1) != 1:
        return None
    taps, bias = math.prod(other[2:]), [-1, *[1] * len(other[2:])]
    if node.op_type == "Conv":
        return _Sum((1, 1), _sizes(one[1], PRODUCTS // taps), bias)
    taps //= math.prod(options.get("strides", [1]))  # those that meet in one pixel
    return _Sum((1, 0), _sizes(one[1], PRODUCTS // max(1, taps)), bias)


def _sizes(length: int, step: int) -> list[int]:
    step = max(1, step)
    return [min(step, length - start) for start in range(0, length, step)]


def _in_parts(node: NodeProto, found: _Sum) -> Iterator[NodeProto]:
    """Return nodes that give what a node gives, each part of its sum added to those before and rounded."""
    result, count = node.output[0], range(len(found.sizes))
    factors = [[f"{result}/{side}{part}" for part in count] for side in ("a", "b")]
    for name, axis, parts in zip(node.input, found.axes, factors, strict=False):
        yield helper.make_node("Split", [name, f"{result}/sizes"], parts, axis=axis)
    total = ""
    for part, inputs in zip(count, zip(*factors, strict=True), strict=True):
        product = NodeProto()
        product.CopyFrom(node)
        product.name = f"{node.name}/part{part}"
        product.input[:], product.output[:] = inputs, [f"{result}/product{part}"]
        yield product
        added = product.output[0]
        if total:
            added = f"{result}/added{part}"
            yield helper.make_node("Add", [total, product.output[0]], [added])
        total = f"{result}/sum{part}"
        yield from rounding(added, total, "fp16")
    if len(node.input) < 3:
        yield helper.make_node("Identity", [total], [result])
        return
    bias = node.input[2]
    if found.bias:
        yield helper.make_node("Reshape", [bias, f"{result}/shape"], [f"{result}/bias"])
        bias = f"{result}/bias"
    yield helper.make_node("Add", [total, bias], [result])
