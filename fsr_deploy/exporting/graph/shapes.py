"""The types and shapes of a graph's tensors, as ONNX infers them."""

from __future__ import annotations

from onnx import ModelProto, ValueInfoProto, shape_inference


def tensors(model: ModelProto, *, strict: bool = True) -> list[ValueInfoProto]:
    """Return every tensor that nodes read or write, with the graph's inputs and outputs, without constants. With
    ``strict``, a tensor that cannot be inferred is an error; otherwise it is left out.
    """
    graph = shape_inference.infer_shapes(model, strict_mode=strict).graph
    return [*graph.value_info, *graph.input, *graph.output]


def tensors_of_one_face(model: ModelProto) -> list[ValueInfoProto]:
    """Return the same at batch 1, where every shape is a number."""
    single = ModelProto()
    single.CopyFrom(model)
    del single.graph.value_info[:]
    for value in (*single.graph.input, *single.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    graph = shape_inference.infer_shapes(single, strict_mode=True, data_prop=True).graph
    return [*graph.value_info, *graph.input, *graph.output]


def shape(value: ValueInfoProto) -> list[int]:
    """Return a tensor's shape, 0 for what is not a number."""
    return [dimension.dim_value for dimension in value.type.tensor_type.shape.dim]


def tensor_shapes(model: ModelProto) -> dict[str, list[int]]:
    """Return the shape of every tensor for one face."""
    return {value.name: shape(value) for value in tensors_of_one_face(model)}


def tensor_types(model: ModelProto, *, strict: bool = True) -> dict[str, int]:
    """Return the ONNX type of every tensor, constants included; ``strict`` is that of ``tensors``."""
    types = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    return types | {value.name: value.type.tensor_type.elem_type for value in tensors(model, strict=strict)}


def tensor_ranks(model: ModelProto) -> dict[str, int]:
    """Return the number of dimensions of each tensor whose shape can be inferred."""
    known: list[ValueInfoProto] = tensors(model, strict=False)
    return {value.name: len(shape(value)) for value in known if value.type.tensor_type.HasField("shape")}
