"""The ONNX graph: one file, typed, with constant shapes except the batch, and every node named after its module."""

from __future__ import annotations

import ast
import copy
from collections.abc import Hashable, Mapping
from pathlib import Path

import onnx
import torch
from onnx import ModelProto, NodeProto, helper
from torch import nn

from fsr_deploy import __version__
from fsr_deploy._util.sizes import Size, as_shape
from fsr_deploy.errors import InputError
from fsr_deploy.exporting.graph import opset17
from fsr_deploy.exporting.graph.deployable import Deployable
from fsr_deploy.exporting.graph.group_norm import without_group_norms
from fsr_deploy.exporting.graph.operator_rules import faults
from fsr_deploy.exporting.graph.products import without_aligned_corners, without_transforms
from fsr_deploy.exporting.graph.spelled_out import without_folds
from fsr_deploy.exporting.graph.trace import trace
from fsr_deploy.exporting.graph.turing import without_fp32_products
from fsr_deploy.exporting.options import EXPORT_OPSET, check_opset
from fsr_deploy.exporting.rewrite.rewrites import Target

SCOPES = "pkg.torch.onnx.name_scopes"
NO_MODULE = "_empty_nn_module_stack"  # the exporter's name for nodes that it adds


def export_onnx(
    deployable: nn.Module,
    path: Path,
    *,
    lr_size: Size,
    batches: tuple[int, int, int],
    precision: str,
    opset: int = EXPORT_OPSET,
    target: Target = "tensorrt",
    metadata: Mapping[str, str] | None = None,
    upsampling: int = 8,
    for_turing: bool = False,
    form: Hashable = None,
) -> None:
    """Write a deployable module (deploy.prepare) as an ONNX file that takes any batch.

    ``batches`` (min, opt, max) are recorded for those who size batches, with ``precision`` and ``metadata`` ("model",
    "trained", ...), in the file's metadata under ``fsr.``. ``opset`` 17 is for TensorRT 8.6, which ignores the axes
    input that reductions have since 18; 19 is the first whose QuantizeLinear takes FP16; "bf16" needs 22, the first
    whose Conv takes it. ``for_turing`` writes FP32 products as Turing has them (turing.py). ``form`` is trace's. The
    same weights give the same bytes. Raises UsageError for an opset that does not exist or does not go with the
    precision, and InputError for a graph for TensorRT that its parser would not take.
    """
    check_opset(opset, precision)
    height, width = as_shape(lr_size)
    uint8 = isinstance(deployable, Deployable)
    faces = torch.zeros((2, height, width, 3), dtype=torch.uint8)
    example = faces if uint8 else torch.zeros((2, 3, height * upsampling, width * upsampling))
    model = trace(deployable, example, max(opset, EXPORT_OPSET), form and (form, max(opset, EXPORT_OPSET)))
    without_group_norms(model)
    without_folds(model)
    if target == "tensorrt":
        without_aligned_corners(model)
    if target != "onnxruntime":
        without_transforms(model)
    _ask_for_shapes_after_the_cast(model)
    _name_nodes(model)
    _name_tensors(model)
    _strip(model)
    if for_turing:
        without_fp32_products(model)
    if opset < EXPORT_OPSET:
        opset17.to_opset_17(model)
    # The least that the opset needs: older runtimes (ONNX Runtime 1.17, and what is built on it) refuse a newer one.
    model.ir_version = helper.find_min_ir_version_for(model.opset_import)
    facts = {"precision": precision, "batches": ",".join(map(str, batches)), **(metadata or {})}
    helper.set_model_props(model, {f"fsr.{key}": value for key, value in sorted(facts.items())})
    if target == "tensorrt":
        check_operators(model)
    _check(model, opset)
    path.write_bytes(model.SerializeToString(deterministic=True))


def check_operators(model: ModelProto) -> None:
    """Raise InputError that names each module with an operator that TensorRT's parser would refuse or misread."""
    found = sorted({f"{module_of_node(name) or 'the graph'}: {fault}" for name, fault in faults(model)})
    if found:
        lines = "\n  ".join(found)
        raise InputError(
            "TensorRT's parser does not take this network; write these modules differently, or export it with "
            f"--target onnxruntime:\n  {lines}"
        )


def _check(model: ModelProto, opset: int) -> None:
    """Raise InputError, with the modules, for a graph that is not valid in its opset."""
    missing = {
        f"{module_of_node(node.name) or 'the graph'}: {node.op_type}"
        for node in model.graph.node
        if onnx.defs.has(node.op_type, node.domain) and not onnx.defs.has(node.op_type, opset, node.domain)
    }
    if missing:
        raise InputError(
            f"opset {opset} lacks operators of this network, give a later --opset: {', '.join(sorted(missing))}"
        )
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"this network gives no valid graph, its types or shapes do not match: {reason}; "
            "write that operation differently"
        ) from error


def module_of_node(node_name: str) -> str:
    """Return the dotted path of the module that a node of an exported graph came from, "" for none."""
    return node_name.rpartition("/")[0]


def _ask_for_shapes_after_the_cast(model: ModelProto) -> None:
    """A network that reads its batch size reads it from the float tensor: TensorRT accepts only a Cast on uint8."""
    first = model.graph.input[0]
    asking = [node for node in model.graph.node if node.op_type == "Shape" and node.input[0] == first.name]
    casts = [node for node in model.graph.node if node.op_type == "Cast" and node.input[0] == first.name]
    if not asking or not casts:
        return
    for node in asking:
        node.input[0] = casts[0].output[0]
    others = [node for node in model.graph.node if node.output != casts[0].output]
    ordered = [copy.deepcopy(node) for node in (casts[0], *others)]
    del model.graph.node[:]
    model.graph.node.extend(ordered)


def _name_nodes(model: ModelProto) -> None:
    """Name each node "module.path/OpType_index"; a node without a scope gets that of the node it reads."""
    module_from: dict[str, str] = {}
    for index, node in enumerate(model.graph.node):
        module = _scope(node)
        if module is None:
            module = next((module_from[name] for name in node.input if name in module_from), "")
        node.name = f"{module}/{node.op_type}_{index}"
        module_from.update(dict.fromkeys(filter(None, node.output), module))


def _name_tensors(model: ModelProto) -> None:
    """Name each node's output after the node: ONNX Runtime calls some of its kernels by what they give."""
    names = {value.name: value.name for value in model.graph.output}
    for node in model.graph.node:
        for position, output in enumerate(node.output):
            if output:  # an optional output that is left out has no name, as an optional input has none
                names.setdefault(output, f"{node.name}:{position}" if position else node.name)
    for node in model.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    for value in model.graph.value_info:
        value.name = names.get(value.name, value.name)


def _scope(node: NodeProto) -> str | None:
    """Return the innermost module that the exporter recorded for a node, None where it recorded none."""
    for entry in node.metadata_props:
        if entry.key == SCOPES:
            scopes = ast.literal_eval(entry.value)[:-1]
            if any(scope.startswith(NO_MODULE) for scope in scopes):
                return None
            modules = [scope for scope in scopes if scope]
            return modules[-1] if modules else ""
    return None


def _strip(model: ModelProto) -> None:
    """Drop the exporter's notes: they hold paths of this machine and differ between runs."""
    graph = model.graph
    for value in (*graph.node, *graph.input, *graph.output, *graph.initializer, *graph.value_info, graph, model):
        del value.metadata_props[:]
    model.producer_name, model.producer_version = "fsr-deploy", __version__
