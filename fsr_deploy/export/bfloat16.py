"""BF16 graphs where no kernel runs them: the same graph in FP32, every BF16 result rounded to BF16.

ONNX Runtime's CPU provider has no BF16 convolution. A BF16 unit multiplies exactly, adds in FP32 and rounds what it
stores; rounding after each node is that, so the graph that is proven computes what the graph that is shipped does.
"""

from __future__ import annotations

import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

BF16, FP32 = TensorProto.BFLOAT16, TensorProto.FLOAT


def emulated(model: ModelProto) -> ModelProto:
    """Return a graph of FP32 kernels that rounds to BF16 wherever the given one stores BF16, with the same rim."""
    rounded = _bfloat16_values(model)
    result = ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    del graph.value_info[:], graph.node[:]
    for tensor in graph.initializer:
        if tensor.data_type == BF16:
            tensor.CopyFrom(_widened(tensor))
    for node in model.graph.node:
        graph.node.extend(_with_rounding(node, rounded))
    return result


def _bfloat16_values(model: ModelProto) -> set[str]:
    """Return the names of all BF16 results of nodes."""
    values = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph.value_info
    return {value.name for value in values if value.type.tensor_type.elem_type == BF16}


def _with_rounding(node: NodeProto, rounded: set[str]) -> list[NodeProto]:
    """Return the node in FP32, followed by two casts for each BF16 result."""
    wide = NodeProto()
    wide.CopyFrom(node)
    for attribute in wide.attribute:
        if attribute.name == "to" and attribute.i == BF16:
            attribute.i = FP32
        elif attribute.t.data_type == BF16:
            attribute.t.CopyFrom(_widened(attribute.t))
    casts = []
    for position, name in enumerate(node.output):
        if name in rounded:
            wide.output[position] = f"{name}/exact"
            casts.append(helper.make_node("Cast", [f"{name}/exact"], [f"{name}/rounded"], to=BF16))
            casts.append(helper.make_node("Cast", [f"{name}/rounded"], [name], to=FP32))
    return [wide, *casts]


def _widened(tensor: TensorProto) -> TensorProto:
    return numpy_helper.from_array(numpy_helper.to_array(tensor).astype("float32"), tensor.name)
