"""The outline of an ONNX file, read without the ``onnx`` package: its opset and its nodes' names.

A plan is built where the GPU is, and the machine there need not have ``onnx``.
"""

from __future__ import annotations

from dataclasses import dataclass

from fsr_deploy.bundle.onnx_wire import read_fields

# Field numbers of onnx.proto.
_MODEL_GRAPH, _MODEL_OPSETS = 7, 8
_OPSET_DOMAIN, _OPSET_VERSION = 1, 2
_GRAPH_NODES = 1
_NODE_NAME, _NODE_OPERATOR = 3, 4


@dataclass(frozen=True)
class Node:
    """One node: fsr-export names them "module.path/Operator_index"."""

    name: str
    operator: str

    @property
    def module(self) -> str:
        """The dotted path of the PyTorch module that the node came from, "" for none."""
        return self.name.rpartition("/")[0]


@dataclass(frozen=True)
class Outline:
    """The version of the standard operators, and the nodes in the file's order."""

    opset: int
    nodes: tuple[Node, ...]


def read_outline(model: bytes) -> Outline:
    """Read the outline of a serialised ONNX model; raises ValueError where it is none."""
    opset, nodes = 0, []
    for field, value in read_fields(memoryview(model)):
        if field == _MODEL_OPSETS and isinstance(value, memoryview):
            opset = max(opset, _opset_version(value))
        elif field == _MODEL_GRAPH and isinstance(value, memoryview):
            nodes = [_node(part) for number, part in read_fields(value) if number == _GRAPH_NODES]
    return Outline(opset, tuple(nodes))


def _opset_version(message: memoryview) -> int:
    """Return the version of the default domain, 0 for another domain."""
    fields = dict(read_fields(message))
    version = fields.get(_OPSET_VERSION, 0)
    return version if not fields.get(_OPSET_DOMAIN) and isinstance(version, int) else 0


def _node(message: memoryview | int) -> Node:
    if not isinstance(message, memoryview):
        raise ValueError("a node that is none")
    texts = {_NODE_NAME: "", _NODE_OPERATOR: ""}
    for number, value in read_fields(message):
        if number in texts and isinstance(value, memoryview):
            texts[number] = bytes(value).decode()
    return Node(texts[_NODE_NAME], texts[_NODE_OPERATOR])
