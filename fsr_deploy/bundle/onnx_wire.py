"""Does an ONNX file refer to other files? Answered from its bytes, before any library parses it.

ONNX tensors may keep their values in other files ("external data"). Such a reference can point anywhere, and some
loaders take special ones for memory addresses, so no engine here may hold one. The ``onnx`` package would tell, but
a deployment box does not have it; the protocol-buffer fields on the way to a tensor are few and fixed (onnx.proto).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

MAX_DEPTH = 64
_Edit = Callable[[memoryview], bytes | None]
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_LARGEST_KEY = (1 << 32) - 1  # other readers would cut a larger one, and see another field
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14

# The message of each field that leads to tensors: message -> field number -> message.
_FIELDS: Mapping[str, Mapping[int, str]] = {
    "Model": {7: "Graph", 20: "Training", 25: "Function"},
    "Training": {1: "Graph", 2: "Graph"},
    "Function": {7: "Node", 11: "Attribute"},
    "Graph": {1: "Node", 5: "Tensor", 15: "SparseTensor"},
    "Node": {5: "Attribute"},
    "Attribute": {5: "Tensor", 6: "Graph", 10: "Tensor", 11: "Graph", 22: "SparseTensor", 23: "SparseTensor"},
    "SparseTensor": {1: "Tensor", 2: "Tensor"},
}


def has_external_data(model: bytes) -> bool:
    """Tell whether any tensor of a serialised ONNX model keeps its values elsewhere.

    Raises ValueError where the bytes are not a protocol buffer, or are nested deeper than MAX_DEPTH messages.
    """
    return _search(memoryview(model), "Model", MAX_DEPTH)


def _search(message: memoryview, kind: str, depth: int) -> bool:
    if depth == 0:
        raise ValueError("nested too deeply")
    if kind == "Tensor":
        return any(
            number == _EXTERNAL_DATA or (number == _DATA_LOCATION and value != 0)
            for number, value in read_fields(message)
        )
    return any(
        _search(value, _FIELDS[kind][number], depth - 1)
        for number, value in read_fields(message)
        if number in _FIELDS[kind] and isinstance(value, memoryview)
    )


def read_fields(message: memoryview) -> Iterator[tuple[int, memoryview | int]]:
    """Yield (field number, value); the value of a fixed-width field is of no interest here and given as 0."""
    return ((number, value) for number, value, _ in _fields(message))


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview | int, memoryview]]:
    """Yield (field number, value, all of the field's bytes)."""
    position = 0
    while position < len(message):
        start = position
        key, position = _varint(message, position)
        if key > _LARGEST_KEY:
            raise ValueError("a field number out of range")
        wire = key & 7
        value: memoryview | int = 0
        if wire == _VARINT:
            value, position = _varint(message, position)
        elif wire == _BYTES:
            length, position = _varint(message, position)
            value, position = message[position : position + length], position + length
        elif wire in (_FIXED64, _FIXED32):
            position += 8 if wire == _FIXED64 else 4
        else:
            raise ValueError(f"unknown wire type {wire}")
        if position > len(message):
            raise ValueError("cut off")
        yield key >> 3, value, message[start:position]


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    """Return a base-128 number and the position after it."""
    number = shift = 0
    while position < len(message) and shift < 70:
        byte = message[position]
        position += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, position
        shift += 7
    raise ValueError("cut off")


# Field numbers of onnx.proto.
_MODEL_GRAPH, _MODEL_OPSETS, _MODEL_METADATA = 7, 8, 14
_ENTRY_KEY, _ENTRY_VALUE = 1, 2
_OPSET_DOMAIN, _OPSET_VERSION = 1, 2
_GRAPH_NODES, _GRAPH_WEIGHTS, _GRAPH_INPUTS, _GRAPH_OUTPUTS, _GRAPH_VALUES = 1, 5, 11, 12, 13
_TENSOR_NAME, _VALUE_NAME = 8, 1
_VALUE_TYPE, _TYPE_TENSOR, _TENSOR_SHAPE, _SHAPE_SIZE = 2, 1, 2, 1
_TYPE_ELEMENT = 1
_NODE_OUTPUTS, _NODE_NAME, _NODE_OPERATOR = 2, 3, 4
FLOAT = 1  # onnx.TensorProto.FLOAT


@dataclass(frozen=True)
class Node:
    """One node: fsr-export names them "module.path/Operator_index". ``type`` is what the graph says of its first
    output, a number of onnx.TensorProto such as FLOAT, 0 where it says nothing.
    """

    name: str
    operator: str
    type: int = 0

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
            nodes = _nodes(value)
    return Outline(opset, tuple(nodes))


def read_metadata(model: bytes) -> dict[str, str]:
    """Read the metadata of a serialised ONNX model; raises ValueError where it is none."""
    entries = [value for field, value in read_fields(memoryview(model)) if field == _MODEL_METADATA]
    pairs = [dict(read_fields(entry)) for entry in entries if isinstance(entry, memoryview)]
    return {_text(pair.get(_ENTRY_KEY)): _text(pair.get(_ENTRY_VALUE)) for pair in pairs}


def _text(value: memoryview | int | None) -> str:
    return bytes(value).decode() if isinstance(value, memoryview) else ""


def _opset_version(message: memoryview) -> int:
    """Return the version of the default domain, 0 for another domain."""
    fields = dict(read_fields(message))
    version = fields.get(_OPSET_VERSION, 0)
    return version if not fields.get(_OPSET_DOMAIN) and isinstance(version, int) else 0


def _nodes(graph: memoryview) -> list[Node]:
    parts: dict[int, list[memoryview | int]] = {_GRAPH_NODES: [], _GRAPH_VALUES: [], _GRAPH_OUTPUTS: []}
    for number, part in read_fields(graph):
        if number in parts:
            parts[number].append(part)
    types = dict(map(_typed_value, (*parts[_GRAPH_VALUES], *parts[_GRAPH_OUTPUTS])))
    return [_node(part, types) for part in parts[_GRAPH_NODES]]


def _node(message: memoryview | int, types: Mapping[str, int]) -> Node:
    if not isinstance(message, memoryview):
        raise ValueError("a node that is none")
    texts: dict[int, str] = {}
    for number, value in read_fields(message):
        if number in (_NODE_OUTPUTS, _NODE_NAME, _NODE_OPERATOR):
            texts.setdefault(number, _text(value))  # of several outputs, the first
    name, operator, output = (texts.get(number, "") for number in (_NODE_NAME, _NODE_OPERATOR, _NODE_OUTPUTS))
    return Node(name, operator, types.get(output, 0))


def _typed_value(message: memoryview | int) -> tuple[str, int]:
    """Return a value's name and the type of its elements, 0 for none."""
    kind: memoryview | int | None = message
    for number in (_VALUE_TYPE, _TYPE_TENSOR, _TYPE_ELEMENT):
        kind = dict(read_fields(kind)).get(number) if isinstance(kind, memoryview) else None
    return _name_of(message, _VALUE_NAME), kind if isinstance(kind, int) else 0


def free_sizes(model: bytes) -> bytes:
    """Return an ONNX model for pictures, inputs (N, C, H, W), with N, H and W free, which a file may fix.

    What it says about sizes of outputs and of values in between is left out. Raises ValueError where it is no model.
    """
    return _edited(memoryview(model), {_MODEL_GRAPH: _free_graph})


def _free_graph(graph: memoryview) -> bytes:
    weights = {_name_of(value, _TENSOR_NAME) for number, value in read_fields(graph) if number == _GRAPH_WEIGHTS}

    def without_sizes(value: memoryview) -> bytes:
        return _within(value, (_VALUE_TYPE, _TYPE_TENSOR), {_TENSOR_SHAPE: _nothing})

    def free(value: memoryview) -> bytes:
        if _name_of(value, _VALUE_NAME) in weights:  # older files list weights as inputs
            return bytes(value)
        return _within(value, (_VALUE_TYPE, _TYPE_TENSOR, _TENSOR_SHAPE), None)

    return _edited(graph, {_GRAPH_INPUTS: free, _GRAPH_OUTPUTS: without_sizes, _GRAPH_VALUES: _nothing})


def _within(message: memoryview, way: tuple[int, ...], edits: Mapping[int, _Edit] | None) -> bytes:
    """Return a message with a field of a field of it edited; None frees the sizes of a picture's shape."""
    if way:
        return _edited(message, {way[0]: lambda value: _within(value, way[1:], edits)})
    if edits is not None:
        return _edited(message, edits)
    sizes = [field for number, _, field in _fields(message) if number == _SHAPE_SIZE]
    free = _field(_SHAPE_SIZE, b"")
    return b"".join([free, sizes[1], free, free] if len(sizes) == 4 else sizes)


def _edited(message: memoryview, edits: Mapping[int, _Edit]) -> bytes:
    """Return a message with the fields of some numbers edited; those of which nothing is left are left out."""
    parts: list[bytes | memoryview] = []
    for number, value, field in _fields(message):
        if number in edits and isinstance(value, memoryview):
            edited = edits[number](value)
            parts.append(_field(number, edited) if edited is not None else b"")
        else:
            parts.append(field)
    return b"".join(parts)


def _nothing(value: memoryview) -> None:
    """Leave a field out."""


def _field(number: int, value: bytes) -> bytes:
    return _number(number << 3 | _BYTES) + _number(len(value)) + value


def _number(value: int) -> bytes:
    """Return a number in base 128."""
    digits = bytearray()
    while value >= 0x80:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*digits, value])


def _name_of(message: memoryview | int, field: int) -> str:
    return _text(dict(read_fields(message)).get(field)) if isinstance(message, memoryview) else ""
