"""Operators that opset 17 or TensorRT lacks, in others that compute the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

Constants = Mapping[str, NDArray[Any]]
Spelled = tuple[list[TensorProto], list[NodeProto]]


def without_folds(model: ModelProto) -> None:
    """Write each Col2Im (F.fold) of patches that lie side by side as what it then is, a change of order."""
    spell_out(model, "Col2Im", _fold)


def without_mish(model: ModelProto) -> None:
    """Write each Mish as x tanh(softplus(x))."""
    spell_out(model, "Mish", _mish)


def spell_out(model: ModelProto, kind: str, spell: Callable[[NodeProto, Constants], Spelled | None]) -> None:
    """Replace the nodes of a kind by what ``spell`` gives for them; None leaves a node as it is."""
    graph = model.graph
    if all(node.op_type != kind for node in graph.node):
        return
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    nodes: list[NodeProto] = []
    replaced: set[str] = set()
    for node in graph.node:
        spelled = spell(node, constants) if node.op_type == kind and not node.domain else None
        if spelled is None:
            nodes.append(node)
            continue
        replaced |= set(node.input)
        graph.initializer.extend(spelled[0])
        for part in spelled[1]:
            part.metadata_props.extend(node.metadata_props)
        nodes += spelled[1]
    del graph.node[:]
    graph.node.extend(nodes)
    unused = replaced - {name for node in nodes for name in node.input}
    for tensor in [tensor for tensor in graph.initializer if tensor.name in unused]:
        graph.initializer.remove(tensor)


def _mish(node: NodeProto, constants: Constants) -> Spelled:
    x, y, name = node.input[0], node.output[0], node.name
    return [], [
        helper.make_node("Softplus", [x], [f"{y}.softplus"], f"{name}.softplus"),
        helper.make_node("Tanh", [f"{y}.softplus"], [f"{y}.tanh"], f"{name}.tanh"),
        helper.make_node("Mul", [x, f"{y}.tanh"], [y], name),
    ]


def _fold(node: NodeProto, constants: Constants) -> Spelled | None:
    """Return the nodes for columns (N, c block, patches) to (N, c, h, w); None where patches overlap or have gaps."""
    x, y, name = node.input[0], node.output[0], node.name
    size, block = (constants.get(given) for given in node.input[1:3])
    given = {attribute.name: list(attribute.ints) for attribute in node.attribute}
    if size is None or block is None or len(size) != 2 or np.any(size % block):
        return None
    if given.get("strides", [1, 1]) != block.tolist() or any(given.get("pads", [])):
        return None
    if set(given.get("dilations", [1])) != {1}:
        return None
    shapes = {f"{y}.blocks": [0, -1, *block, *(size // block)], f"{y}.whole": [0, -1, *size]}
    made = [helper.make_tensor(key, TensorProto.INT64, [len(shape)], shape) for key, shape in shapes.items()]
    return made, [
        helper.make_node("Reshape", [x, f"{y}.blocks"], [f"{y}.taken"], f"{name}.taken"),
        helper.make_node("Transpose", [f"{y}.taken"], [f"{y}.side"], f"{name}.side", perm=[0, 1, 4, 2, 5, 3]),
        helper.make_node("Reshape", [f"{y}.side", f"{y}.whole"], [y], name),
    ]
