"""GroupNormalization in operators of which onnx knows the results.

From opset 21 on PyTorch's exporter writes one node for it. onnx infers neither its type nor its shape, and so nothing
of what comes after it.
"""

from __future__ import annotations

from onnx import ModelProto, NodeProto, TensorProto, TypeProto, helper

from fsr_deploy.exporting.graph.spelled_out import Spelled, spell_out


def without_group_norms(model: ModelProto) -> None:
    """Write each GroupNormalization as the InstanceNormalization of its groups, as the exporter does up to opset 20."""
    graph = model.graph
    types = {value.name: value.type.tensor_type for value in (*graph.value_info, *graph.input, *graph.output)}
    spell_out(model, "GroupNormalization", lambda node, _: _spelled_out(node, types[node.output[0]]))


def _spelled_out(node: NodeProto, result: TypeProto.Tensor) -> Spelled:
    """Return the constants and the nodes for one, whose result is (N, C, ...) of known sizes but for N."""
    x, scale, bias = node.input
    given = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    groups, sizes = given["num_groups"], [dimension.dim_value for dimension in result.shape.dim[1:]]
    name = node.output[0]
    integers = {
        "in_groups": [0, groups, -1],
        "as_it_was": [0, *sizes],
        "per_channel": [sizes[0], *(1 for _ in sizes[1:])],
    }
    constants = [
        *(helper.make_tensor(f"{name}.{key}", TensorProto.INT64, [len(row)], row) for key, row in integers.items()),
        helper.make_tensor(f"{name}.ones", result.elem_type, [groups], [1.0] * groups),
        helper.make_tensor(f"{name}.zeros", result.elem_type, [groups], [0.0] * groups),
    ]

    epsilon = given.get("epsilon", 1e-5)
    nodes = [
        helper.make_node("Reshape", [x, f"{name}.in_groups"], [f"{name}.grouped"]),
        helper.make_node(
            "InstanceNormalization",
            [f"{name}.grouped", f"{name}.ones", f"{name}.zeros"],
            [f"{name}.normal"],
            epsilon=epsilon,
        ),
        helper.make_node("Reshape", [f"{name}.normal", f"{name}.as_it_was"], [f"{name}.whole"]),
        helper.make_node("Reshape", [scale, f"{name}.per_channel"], [f"{name}.scale"]),
        helper.make_node("Reshape", [bias, f"{name}.per_channel"], [f"{name}.bias"]),
        helper.make_node("Mul", [f"{name}.whole", f"{name}.scale"], [f"{name}.scaled"]),
        helper.make_node("Add", [f"{name}.scaled", f"{name}.bias"], [name]),
    ]
    return constants, nodes
