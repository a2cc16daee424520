"""The ONNX graph: one file, typed, of constant shapes but for the batch, with every node named after its module."""

from __future__ import annotations

import ast
import logging
import warnings
from collections.abc import Mapping
from pathlib import Path

import onnx
import torch
from onnx import ModelProto, NodeProto, helper
from torch import nn

from fsr_deploy import __version__
from fsr_deploy.errors import InputError, UsageError
from fsr_deploy.export import opset17
from fsr_deploy.export.deploy import Deployable
from fsr_deploy.export.operators import faults

INPUT, OUTPUT, BATCH = "lr", "sr", "N"
EXPORT_OPSET = 18
MIXED_OPSET = 19
BF16_OPSET = 22
OPSETS = (opset17.OPSET, EXPORT_OPSET, MIXED_OPSET, BF16_OPSET)
SCOPES = "pkg.torch.onnx.name_scopes"


def export_onnx(
    deployable: nn.Module,
    path: Path,
    *,
    lr_size: int,
    batches: tuple[int, int, int],
    precision: str,
    opset: int = EXPORT_OPSET,
    metadata: Mapping[str, str] | None = None,
    scale: int = 8,
) -> None:
    """Write a deployable module (deploy.prepare) as an ONNX file that takes any batch.

    ``batches`` (min, opt, max) are recorded for those who size batches, with ``precision`` and ``metadata``
    ("model", "trained", ...), in the file's metadata under ``fsr.``. ``opset`` 17 is for TensorRT 8.6, which ignores
    the axes input that reductions have since 18; 19 is the first whose QuantizeLinear takes FP16; "bf16" is always
    written with 22, the first whose Conv takes it. The same weights give the same bytes. Raises UsageError for an opset
    that does not exist or does not go with the precision, and InputError for a network that TensorRT's parser would
    not take.
    """
    if opset not in OPSETS:
        raise UsageError(f"opset {opset} cannot be written; there are {', '.join(map(str, OPSETS))}")
    if precision == "bf16":
        if opset < EXPORT_OPSET:
            raise UsageError(
                f"bf16 needs opset {BF16_OPSET} or newer and TensorRT 10: leave opset {opset} out or take fp16"
            )
        opset = BF16_OPSET
    model = _trace(deployable, lr_size, scale, max(opset, EXPORT_OPSET))
    _name_nodes(model)
    _name_tensors(model)
    _strip(model)
    if opset < EXPORT_OPSET:
        opset17.to_opset_17(model)
    # The least that the opset needs: older runtimes (ONNX Runtime 1.17, and what is built on it) refuse a newer one.
    model.ir_version = helper.find_min_ir_version_for(model.opset_import)
    facts = {"precision": precision, "batches": ",".join(map(str, batches)), **(metadata or {})}
    helper.set_model_props(model, {f"fsr.{key}": value for key, value in sorted(facts.items())})
    onnx.checker.check_model(model, full_check=True)
    check_operators(model)
    path.write_bytes(model.SerializeToString(deterministic=True))


def check_operators(model: ModelProto) -> None:
    """Raise InputError that names each module with an operator that TensorRT's parser would refuse or misread."""
    found = sorted({f"{module_of(name) or 'the graph'}: {fault}" for name, fault in faults(model)})
    if found:
        lines = "\n  ".join(found)
        raise InputError(f"TensorRT's parser does not take this network; write these modules differently:\n  {lines}")


def module_of(node_name: str) -> str:
    """Return the dotted path of the module that a node of an exported graph came from, "" for none."""
    return node_name.rpartition("/")[0]


def _trace(deployable: nn.Module, lr_size: int, scale: int, opset: int) -> ModelProto:
    """Export at batch 2 with a symbolic batch, and make sure that it stayed symbolic."""
    side = lr_size * scale
    if isinstance(deployable, Deployable):
        example = torch.zeros((2, lr_size, lr_size, 3), dtype=torch.uint8)
    else:
        example = torch.zeros((2, 3, side, side))
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(
            deployable,
            (example,),
            dynamo=True,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes=({0: torch.export.Dim(BATCH, min=1)},),
            opset_version=opset,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    for value in (*model.graph.input, *model.graph.output):
        dimensions = value.type.tensor_type.shape.dim
        if dimensions[0].dim_param != BATCH or not all(d.dim_value for d in dimensions[1:]):
            raise AssertionError(
                f"{value.name} has no symbolic batch: {[d.dim_param or d.dim_value for d in dimensions]}"
            )
    return model


def _name_nodes(model: ModelProto) -> None:
    """Name each node "module.path/OpType_index"; a node without a scope gets that of the node it reads."""
    module_from: dict[str, str] = {}
    for index, node in enumerate(model.graph.node):
        module = _scope(node)
        if module is None:
            module = next((module_from[name] for name in node.input if name in module_from), "")
        node.name = f"{module}/{node.op_type}_{index}"
        module_from.update(dict.fromkeys(node.output, module))


def _name_tensors(model: ModelProto) -> None:
    """Name each node's output after the node: ONNX Runtime calls some of its kernels by what they give."""
    names = {value.name: value.name for value in model.graph.output}
    for node in model.graph.node:
        for position, output in enumerate(node.output):
            names.setdefault(output, f"{node.name}:{position}" if position else node.name)
    for node in model.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names[name] for name in node.output]
    for value in model.graph.value_info:
        value.name = names.get(value.name, value.name)


def _scope(node: NodeProto) -> str | None:
    """Return the innermost module that the exporter recorded for a node, None where it recorded none."""
    for entry in node.metadata_props:
        if entry.key == SCOPES:
            modules = [scope for scope in ast.literal_eval(entry.value)[:-1] if scope]
            return modules[-1] if modules else ""
    return None


def _strip(model: ModelProto) -> None:
    """Drop the exporter's notes: they hold paths of this machine and differ between runs."""
    graph = model.graph
    for value in (*graph.node, *graph.input, *graph.output, *graph.initializer, *graph.value_info, graph, model):
        del value.metadata_props[:]
    model.producer_name, model.producer_version = "fsr-deploy", __version__
