"""Reduced precision where no kernel computes in it: the same graph in FP32, every stored result rounded.

ONNX Runtime's CPU provider has no BF16 convolution, and it runs chains of FP16 nodes in FP32 without rounding between
them: an FP16 overflow that a GPU meets does not happen there. A half-precision unit multiplies exactly, adds in FP32
and rounds what it stores, which this graph does after each node; casts that the graph itself holds are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from fsr_deploy.exporting.graph.onnx_writer import module_of_node
from fsr_deploy.exporting.graph.shapes import tensor_types

EXACT = "/exact"  # what the name of a result ends with before it is rounded
TYPES = {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}


def rounded(model: ModelProto, precision: str) -> ModelProto:
    """Return a graph of FP32 kernels that rounds to ``precision`` ("fp16", "bf16") wherever the given one stores it.

    Inputs and outputs stay as they are, and so do pairs of Quantize and Dequantize, scales of that precision included.
    """
    reduced = TYPES[precision]
    stored = {name for name, kind in tensor_types(model).items() if kind == reduced}
    result = ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    del graph.value_info[:], graph.node[:]
    for tensor in graph.initializer:
        if tensor.data_type == reduced:
            tensor.CopyFrom(_widened(tensor))
    for node in model.graph.node:
        graph.node.extend(_with_rounding(node, stored, reduced))
    return result


def _with_rounding(node: NodeProto, stored: set[str], reduced: int) -> list[NodeProto]:
    """Return the node in FP32, followed by two casts for each result that is stored in reduced precision."""
    wide = NodeProto()
    wide.CopyFrom(node)
    for attribute in wide.attribute:
        if attribute.name == "to" and attribute.i == reduced:
            attribute.i = TensorProto.FLOAT
        elif attribute.t.data_type == reduced:
            attribute.t.CopyFrom(_widened(attribute.t))
    casts = []
    for position, name in enumerate(node.output):
        if name in stored:
            wide.output[position] = f"{name}{EXACT}"
            casts.append(helper.make_node("Cast", [f"{name}{EXACT}"], [f"{name}/rounded"], to=reduced))
            casts.append(helper.make_node("Cast", [f"{name}/rounded"], [name], to=TensorProto.FLOAT))
    return [wide, *casts]


def _widened(tensor: TensorProto) -> TensorProto:
    return numpy_helper.from_array(numpy_helper.to_array(tensor).astype("float32"), tensor.name)


def round_nodes(model: ModelProto, nodes: Collection[str], precision: str) -> ModelProto:
    """Return the FP32 graph with the nodes of these names in ``precision`` ("fp16", "bf16").

    What they read, weights included, and what they give is rounded; everybody else reads what the FP32 graph has.
    """
    result = ModelProto()
    result.CopyFrom(model)
    floats = {name for name, kind in tensor_types(model).items() if kind == TensorProto.FLOAT}
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
                    result.graph.node.extend(rounding(name, given[name], precision))
                inside.input[position] = given[name]
        stored = [name for name in node.output if name in floats]
        inside.output[:] = [f"{name}{EXACT}" if name in floats else name for name in node.output]
        result.graph.node.append(inside)
        for name in stored:
            result.graph.node.extend(rounding(f"{name}{EXACT}", name, precision))
        rounded.update(stored)
    return result


def rounding(name: str, result: str, precision: str) -> list[NodeProto]:
    """Return nodes that give the value of a name, rounded to a precision, another name."""
    return [
        helper.make_node("Cast", [name], [f"{result}/{precision}"], to=TYPES[precision]),
        helper.make_node("Cast", [f"{result}/{precision}"], [result], to=TensorProto.FLOAT),
    ]


PAIR = ("QuantizeLinear", "DequantizeLinear")


def as_typed_by_8_6(model: ModelProto, in_fp32: Callable[[str], bool]) -> ModelProto:
    """Return an FP32 graph with pairs as TensorRT 8.6 may compute it when only some modules are held to FP32."""
    free = {
        node.name for node in model.graph.node if node.op_type not in PAIR and not in_fp32(module_of_node(node.name))
    }
    return round_nodes(model, free, "fp16")
