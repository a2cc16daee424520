"""The shape of every tensor of a graph for one face."""

from __future__ import annotations

from onnx import ModelProto, shape_inference


def tensor_shapes(model: ModelProto) -> dict[str, list[int]]:
    """Return the shape of every tensor for one face."""
    single = ModelProto()
    single.CopyFrom(model)
    del single.graph.value_info[:]
    for value in (*single.graph.input, *single.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    graph = shape_inference.infer_shapes(single, strict_mode=True, data_prop=True).graph
    return {
        value.name: [d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in (*graph.value_info, *graph.input)
    }
