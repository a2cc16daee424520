"""The typed graph of a network, written as an export's options say, with what its modules cost beside it."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path

import onnx
from onnx import ModelProto, TensorProto

from fsr_deploy.bundle.info import INT8_BF16, LAYERS_NAME, ONNX_NAME
from fsr_deploy.exporting.graph.costs import write_layers
from fsr_deploy.exporting.graph.deployable import prepare
from fsr_deploy.exporting.graph.onnx_writer import export_onnx
from fsr_deploy.exporting.graph.shapes import tensor_types
from fsr_deploy.exporting.options import DEFAULT_OPSETS, ExportOptions, in_precision
from fsr_deploy.exporting.precision.cast import PrecisionMap
from fsr_deploy.exporting.rewrite.rewrites import Target
from fsr_deploy.exporting.tensorrt.gpus import TURING
from fsr_deploy.models.source import Source


def write_graph(
    options: ExportOptions,
    source: Source,
    target: Target,
    path: Path,
    keep: Mapping[str, str] | None = None,
    blocks: Collection[str] = (),
) -> PrecisionMap:
    """Write the typed ONNX graph and what its modules cost; returns which modules stay in FP32, and why.

    ``keep`` and ``blocks`` are precision.cast's.
    """
    precision = "fp32" if options.precision in ("int8", INT8_BF16) else options.precision
    deployable, kept = prepare(
        source.network,
        lr_size=source.lr_size,
        upsampling=source.upsampling,
        precision=precision,
        io=options.io,
        target=target,
        keep=keep or {},
        blocks=blocks,
    )
    export_onnx(
        deployable,
        path,
        lr_size=source.lr_size,
        batches=options.batches,
        precision=options.precision,
        opset=options.opset or DEFAULT_OPSETS[options.precision],
        target=target,
        metadata={"model": source.name, "trained": str(source.trained).lower()},
        upsampling=source.upsampling,
        for_turing=TURING in options.plan.gpus
        and options.precision != "int8",  # whose convolutions are yet to be found
        form=None if keep or blocks else (id(source.network), target, precision, options.io),  # no trial of a repair
    )
    if keep:
        model = onnx.load(path)
        pass_on(model)
        path.write_bytes(model.SerializeToString(deterministic=True))
    write_layers(path, deployable, source.network, path.with_name(LAYERS_NAME))
    return kept


def graph_in(precision: str, options: ExportOptions, source: Source, target: Target) -> ModelProto:
    """Return the graph of the same network in another precision."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ONNX_NAME
        write_graph(in_precision(options, precision), source, target, path)
        return onnx.load(path)


def pass_on(model: ModelProto) -> None:
    """Remove the casts between neighbouring FP32 modules: each module casts its own inputs and outputs.

    A value near the end of FP16's range would overflow between two modules that stay in FP32 because of it.
    """
    types = tensor_types(model)
    reduced = {
        node.output[0]: node.input[0]
        for node in model.graph.node
        if node.op_type == "Cast" and types.get(node.input[0]) == TensorProto.FLOAT
    }
    for node in list(model.graph.node):
        if node.op_type == "Cast" and types.get(node.output[0]) == TensorProto.FLOAT and node.input[0] in reduced:
            exact = reduced[node.input[0]]
            for reader in model.graph.node:
                reader.input[:] = [exact if name == node.output[0] else name for name in reader.input]
    _drop_unread_casts(model)


def _drop_unread_casts(model: ModelProto) -> None:
    """Remove casts whose result is not used; a graph's nodes are in order."""
    read = {value.name for value in model.graph.output}
    for node in reversed(list(model.graph.node)):
        if node.op_type == "Cast" and node.output[0] not in read:
            model.graph.node.remove(node)
        else:
            read.update(node.input)
    for value in [value for value in model.graph.value_info if value.name not in read]:
        model.graph.value_info.remove(value)
