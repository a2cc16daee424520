"""What each module of an exported graph costs per face, written into the bundle for latency profiling.

A deployment machine has no onnx to read the graph with; ``layers.json`` lists the modules and their costs.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import onnx
from onnx import ModelProto, NodeProto, ValueInfoProto, helper
from torch import nn

from fsr_deploy.bundle.layers import ModuleCost, ModuleTable
from fsr_deploy.exporting.graph.deployable import Deployable
from fsr_deploy.exporting.graph.onnx_writer import module_of_node
from fsr_deploy.exporting.graph.shapes import shape, tensors_of_one_face

NO_COPY = {"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Constant"}


@dataclass(frozen=True)
class _Value:
    """The shape of a tensor at batch 1 and the bytes of one of its elements."""

    shape: tuple[int, ...]
    item_bytes: int
    constant: bool

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.item_bytes


def write_layers(graph: Path, deployable: nn.Module, network: nn.Module, path: Path) -> None:
    """Write ``layers.json`` for a graph that was exported from ``deployable``, the deployable form of ``network``."""
    table = module_table(onnx.load(graph), deployable, network)
    path.write_text(json.dumps(asdict(table), indent=1) + "\n", encoding="utf-8")


def module_table(model: ModelProto, deployable: nn.Module, network: nn.Module) -> ModuleTable:
    """Return the modules of the network as its paper has them, each with the costs of the nodes innermost in it.

    What the export's rewrites put inside a module counts for that module.
    """
    modules = {path: ModuleCost(kind, 0, 0, 0) for path, kind in _kinds(deployable, network).items()}
    table = ModuleTable(modules)
    values = _values(model)
    for node in model.graph.node:
        if node.op_type not in NO_COPY:
            owner = table.owner(module_of_node(node.name))
            modules[owner] = _add(modules[owner], node, values)
    return table


def _kinds(deployable: nn.Module, network: nn.Module) -> dict[str, str]:
    """Return the class of every module that is not PyTorch's own, by its path in the deployable module."""
    if not isinstance(deployable, Deployable):
        return _own_classes("", network)
    around = {path: kind for path, kind in _own_classes("", deployable).items() if not path.startswith("network")}
    return {**around, **_own_classes("network", network)}


def _own_classes(place: str, module: nn.Module) -> dict[str, str]:
    return {
        ".".join(filter(None, (place, path))): type(inner).__name__
        for path, inner in module.named_modules()
        if not path or not type(inner).__module__.startswith("torch.")
    }


def _add(cost: ModuleCost, node: NodeProto, values: Mapping[str, _Value]) -> ModuleCost:
    """Return a module's cost with a node's multiply-accumulates and the bytes that it moves, at batch 1."""
    inputs = [values[name] for name in node.input if name]
    outputs = [values[name] for name in node.output if name]
    return replace(
        cost,
        macs=cost.macs + _macs(node, inputs, outputs),
        face_bytes=cost.face_bytes + sum(value.nbytes for value in (*inputs, *outputs) if not value.constant),
        weight_bytes=cost.weight_bytes + sum(value.nbytes for value in inputs if value.constant),
    )


def _macs(node: NodeProto, inputs: list[_Value], outputs: list[_Value]) -> int:
    if node.op_type == "Conv":
        return math.prod(outputs[0].shape) * math.prod(inputs[1].shape[1:])
    if node.op_type == "ConvTranspose":
        return math.prod(inputs[0].shape) * math.prod(inputs[1].shape[1:])
    if node.op_type == "MatMul":
        return math.prod(outputs[0].shape) * inputs[0].shape[-1]
    attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    if node.op_type == "Gemm":
        return math.prod(outputs[0].shape) * inputs[0].shape[0 if attributes.get("transA") else 1]
    if node.op_type == "Einsum":
        return _einsum_macs(attributes["equation"].decode(), [value.shape for value in inputs])
    return 0


def _einsum_macs(equation: str, shapes: list[tuple[int, ...]]) -> int:
    """Return a product's multiply-accumulates: one for each combination of its indices and each factor after the first.

    Several factors at once may take fewer, in an order that the engine chooses.
    """
    sizes: dict[str, int] = {}
    for term, sides in zip(equation.replace(" ", "").partition("->")[0].split(","), shapes, strict=True):
        first, dots, last = term.partition("...")
        names = [*first, *(f"...{i}" for i in range(len(first) + len(last) - len(sides), 0)), *last] if dots else term
        for name, size in zip(names, sides, strict=True):
            sizes[name] = max(sizes.get(name, 1), size)
    return (len(shapes) - 1) * math.prod(sizes.values())


def _values(model: ModelProto) -> dict[str, _Value]:
    """Return every tensor of the graph at batch 1."""
    found = {value.name: _value(value) for value in tensors_of_one_face(model)}
    for tensor in model.graph.initializer:
        found[tensor.name] = _Value(tuple(tensor.dims), _item_bytes(tensor.data_type), True)
    return found


def _value(value: ValueInfoProto) -> _Value:
    return _Value(tuple(shape(value)), _item_bytes(value.type.tensor_type.elem_type), False)


def _item_bytes(data_type: int) -> int:
    return helper.tensor_dtype_to_np_dtype(data_type).itemsize
