"""Opset 17 for TensorRT 8.6, whose parser does not read the axes input that reductions have since opset 18.

It then reduces over all axes, without an error. PyTorch's exporter starts at opset 18, and onnx's version converter
stops at Resize.
"""

from __future__ import annotations

from onnx import ModelProto, NodeProto, helper, numpy_helper

from fsr_deploy.exporting.graph.spelled_out import without_mish

OPSET = 17


def to_opset_17(model: ModelProto) -> None:
    """Write what changed in opset 18 as opset 17 has it: axes, Split's parts, Resize's attributes, Mish."""
    without_mish(model)
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type.startswith("Reduce") and node.op_type != "ReduceSum":
            _drop_attributes(node, "noop_with_empty_axes")
            if len(node.input) == 2:
                node.attribute.append(helper.make_attribute("axes", constants[node.input.pop()].tolist()))
        elif node.op_type == "Split":
            _drop_attributes(node, "num_outputs")
        elif node.op_type == "Resize":
            _drop_attributes(node, "antialias", "axes", "keep_aspect_ratio_policy")
    used = {name for node in model.graph.node for name in node.input}
    unused = [tensor for tensor in model.graph.initializer if tensor.name not in used]
    for tensor in unused:
        model.graph.initializer.remove(tensor)
    model.opset_import[0].version = OPSET


def _drop_attributes(node: NodeProto, *names: str) -> None:
    kept = [attribute for attribute in node.attribute if attribute.name not in names]
    del node.attribute[:]
    node.attribute.extend(kept)
