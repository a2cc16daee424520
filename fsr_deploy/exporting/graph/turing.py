"""The form of a graph for Turing GPUs, for which TensorRT for RTX compiles no FP32 matrix product.

It compiles FP32 convolutions, products by element and sums: a product with a constant becomes a convolution of 1x1, one
of two computed values a product by element that is summed. Both are the same products, added in another order.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from fsr_deploy.exporting.graph.shapes import tensor_shapes, tensor_types

RANK = 4  # of what a convolution takes


def without_fp32_products(model: ModelProto) -> None:
    """Replace the FP32 MatMul nodes of a graph; those of a constant that is no matrix, or of other ranks, by sums."""
    types, shapes = tensor_types(model), tensor_shapes(model)
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    nodes: list[NodeProto] = []
    for node in model.graph.node:
        if node.op_type != "MatMul" or types.get(node.output[0]) != TensorProto.FLOAT:
            nodes.append(node)
            continue
        left, right = (constants.get(name) for name in node.input)
        rank = max(constants[name].ndim if name in constants else len(shapes[name]) for name in node.input)
        writer = _Writer(model, node)
        if rank == RANK and right is not None and right.ndim == 2:
            nodes += writer.convolution(node.input[0], right.T, channels_last=True)
        elif rank == RANK and left is not None and left.ndim == 2:
            nodes += writer.convolution(node.input[1], left, channels_last=False)
        else:
            nodes += writer.sum()
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    read = {name for node in nodes for name in node.input}
    for tensor in [tensor for tensor in model.graph.initializer if tensor.name not in read]:
        model.graph.initializer.remove(tensor)


def write_for_turing(path: Path) -> None:
    """Give a graph that was written the form for Turing."""
    model = onnx.load(path)
    without_fp32_products(model)
    path.write_bytes(model.SerializeToString(deterministic=True))


class _Writer:
    """Writes the nodes that take the place of one, named after it."""

    def __init__(self, model: ModelProto, node: NodeProto) -> None:
        self._graph, self._node = model.graph, node
        self._module, _, rest = node.name.rpartition("/")
        self._number = rest.rpartition("_")[2]
        self._nodes: list[NodeProto] = []

    def convolution(self, source: str, weight: NDArray[np.float32], *, channels_last: bool) -> list[NodeProto]:
        """Return ``source`` (N, c, k, n), or (N, c, m, k) with ``channels_last``, times a weight (rows, k)."""
        order = [0, 3, 1, 2] if channels_last else [0, 2, 1, 3]
        back = [0, 2, 3, 1] if channels_last else [0, 2, 1, 3]
        kernel = self._constant("weight", np.ascontiguousarray(weight)[:, :, None, None])
        turned = self._add("Transpose", [source], perm=order)
        product = self._add("Conv", [turned, kernel], kernel_shape=[1, 1])
        self._add("Transpose", [product], self._node.output[0], perm=back)
        return self._nodes

    def sum(self) -> list[NodeProto]:
        """Return (..., m, k) times (..., k, n): (..., m, k, 1) times (..., 1, k, n), summed over k."""
        left = self._add("Unsqueeze", [self._node.input[0], self._constant("last", np.array([-1]))])
        right = self._add("Unsqueeze", [self._node.input[1], self._constant("rows", np.array([-3]))])
        products = self._add("Mul", [left, right])
        axis = self._constant("products", np.array([-2]))
        self._add("ReduceSum", [products, axis], self._node.output[0], keepdims=0)
        return self._nodes

    def _add(self, operator: str, inputs: list[str], output: str = "", **attributes: Any) -> str:
        name = f"{self._module}/{operator}_{self._number}" + ("" if output else f"_{len(self._nodes)}")
        self._nodes.append(helper.make_node(operator, inputs, [output or name], name, **attributes))
        return self._nodes[-1].output[0]

    def _constant(self, what: str, values: NDArray[np.generic]) -> str:
        name = f"{self._node.name}:{what}"
        self._graph.initializer.append(numpy_helper.from_array(values, name))
        return name
