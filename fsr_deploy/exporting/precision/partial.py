"""An FP32 graph in which some operations compute in reduced precision: they read and store rounded values."""

from __future__ import annotations

from collections.abc import Collection

from onnx import ModelProto, NodeProto, TensorProto, helper, shape_inference

from fsr_deploy.exporting.precision.emulate import TYPES


def round_nodes(model: ModelProto, nodes: Collection[str], precision: str) -> ModelProto:
    """Return the FP32 graph with the nodes of these names in ``precision`` ("fp16", "bf16").

    What they read, weights included, and what they give is rounded; everybody else reads what the FP32 graph has.
    """
    result = ModelProto()
    result.CopyFrom(model)
    floats = _float_tensors(model)
    rounded: set[str] = set()  # values that are rounded already, by their own node
    given: dict[str, str] = {}
    del result.graph.node[:]
    for node in model.graph.node:
        if node.name not in nodes:
            result.graph.node.append(node)
            continue
        inside = NodeProto()
        inside.CopyFrom(node)
        for position, name in enumerate(node.input):
            if name in floats and name not in rounded:
                if name not in given:
                    given[name] = f"{name}/as_{precision}"
                    result.graph.node.extend(_rounding(name, given[name], precision))
                inside.input[position] = given[name]
        stored = [name for name in node.output if name in floats]
        inside.output[:] = [f"{name}/exact" if name in floats else name for name in node.output]
        result.graph.node.append(inside)
        for name in stored:
            result.graph.node.extend(_rounding(f"{name}/exact", name, precision))
        rounded.update(stored)
    return result


def _rounding(name: str, result: str, precision: str) -> list[NodeProto]:
    return [
        helper.make_node("Cast", [name], [f"{result}/{precision}"], to=TYPES[precision]),
        helper.make_node("Cast", [f"{result}/{precision}"], [result], to=TensorProto.FLOAT),
    ]


def _float_tensors(model: ModelProto) -> set[str]:
    graph = shape_inference.infer_shapes(model, strict_mode=True).graph
    values = (*graph.value_info, *graph.input, *graph.output)
    found = {value.name for value in values if value.type.tensor_type.elem_type == TensorProto.FLOAT}
    return found | {tensor.name for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT}
