"""The parser and the network that it fills."""

from __future__ import annotations

from typing import Any

import onnx
from onnx import TensorProto

from tests.fakes.tensorrt.base import Setting, Strict, dtype_of

UNSUPPORTED = "NonZero"
KINDS = {"Cast": "CAST", "QuantizeLinear": "QUANTIZE", "DequantizeLinear": "DEQUANTIZE"}


class ITensor(Strict):
    def __init__(self, name: str, dtype: Any, shape: tuple[int, ...]) -> None:
        self._name, self._dtype, self._shape = name, dtype, shape

    dtype = property(lambda self: self._dtype)
    name = property(lambda self: self._name, lambda self, value: None)
    shape = property(lambda self: self._shape, lambda self, value: None)


class ILayer(Strict):
    def __init__(self, name: str, kind: Any, outputs: list[Any]) -> None:
        self._name, self._type, self._outputs, self._output_types = name, kind, outputs, {}

    name = Setting()
    precision = Setting()
    type = property(lambda self: self._type)
    num_outputs = property(lambda self: len(self._outputs))

    def get_output(self, index: int) -> Any:
        return self._outputs[index]

    def set_output_type(self, index: int, dtype: Any) -> None:
        self._output_types[index] = dtype


class INetworkDefinition(Strict):
    def __init__(self, flags: int) -> None:
        self._flags, self._model, self._input, self._layers = flags, b"", None, []

    num_layers = property(lambda self: len(self._layers))
    num_inputs = num_outputs = property(lambda self: int(self._input is not None))

    def get_input(self, index: int) -> Any:
        return self._input

    def get_layer(self, index: int) -> Any:
        return self._layers[index]

    def _read(self, model: bytes) -> None:
        graph = onnx.shape_inference.infer_shapes(onnx.load_from_string(model)).graph
        types_by_name = {v.name: v.type.tensor_type.elem_type for v in (*graph.value_info, *graph.output)}
        source = graph.input[0].type.tensor_type
        shape = tuple(d.dim_value or -1 for d in source.shape.dim)
        self._model, self._input = (
            model,
            self._trt.ITensor(graph.input[0].name, dtype_of(self._trt, source.elem_type), shape),
        )
        kinds = self._trt.LayerType.__members__
        for node in graph.node:
            outputs = [self._trt.ITensor(name, self._dtype(types_by_name.get(name, 0)), ()) for name in node.output]
            if node.op_type == "Softmax":  # the parser flattens its input, in a layer that it gives no name
                self._add(f"(Unnamed Layer* {len(self._layers)}) [Shuffle]", kinds["SHUFFLE"], outputs)
            self._add(node.name, kinds[KINDS.get(node.op_type, "ELEMENTWISE")], outputs)

    def _dtype(self, number: int) -> Any:
        """Return the type of an ONNX type; 8.6 on an H100 said of every tensor of an FP16 graph that it is FP32."""
        weakly_typed = int(self._trt.__version__.split(".")[0]) == 8
        return dtype_of(self._trt, TensorProto.FLOAT if weakly_typed and number == TensorProto.FLOAT16 else number)

    def _add(self, name: str, kind: Any, outputs: list[Any]) -> None:
        self._layers.append(self._trt.ILayer(name, kind, outputs))


class ParserError(Strict):
    def __init__(self, node: int, desc: str) -> None:
        self._node, self._desc = node, desc

    def node(self) -> int:
        return self._node

    def desc(self) -> str:
        return self._desc


class OnnxParser(Strict):
    def __init__(self, network: Any, logger: Any) -> None:
        self._network, self._errors = network, []

    num_errors = property(lambda self: len(self._errors))

    def parse(self, model: bytes, path: str | None = None) -> bool:
        nodes = onnx.load_from_string(model).graph.node
        self._errors = [
            self._trt.ParserError(index, f"No importer registered for op: {node.op_type}")
            for index, node in enumerate(nodes)
            if node.op_type == UNSUPPORTED
        ]
        if not self._errors:
            self._network._read(bytes(model))
        return not self._errors

    def get_error(self, index: int) -> Any:
        return self._errors[index]
