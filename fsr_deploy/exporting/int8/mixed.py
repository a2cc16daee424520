"""INT8 or FP8 where it is harmless and FP16 elsewhere, in one graph: what was chosen and measured on the FP32 graph.

Strongly typed TensorRT (10 and newer) gets the FP16 graph, with its FP32 fallbacks and with pairs whose scales are
FP16. TensorRT 8.6 chooses types itself: it gets the FP32 graph with pairs and the list of modules that stay in FP32.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

from fsr_deploy._util.log import say
from fsr_deploy.bundle.info import ONNX_NAME
from fsr_deploy.exporting.graph.onnx_writer import module_of_node
from fsr_deploy.exporting.graph.sessions import run_graph
from fsr_deploy.exporting.graph.write import write_graph
from fsr_deploy.exporting.int8.formats import INT8, NumberFormat, format_of
from fsr_deploy.exporting.int8.qdq import insert
from fsr_deploy.exporting.int8.quantise import name_precision, prepare, write_within_budget
from fsr_deploy.exporting.int8.scheme import Scheme, nothing_to_quantise
from fsr_deploy.exporting.int8.sites import Site
from fsr_deploy.exporting.options import UNTYPED_OPSET, ExportOptions, fp16_part, in_precision
from fsr_deploy.exporting.precision.blocks import fp32_modules
from fsr_deploy.exporting.precision.cast import PrecisionMap
from fsr_deploy.exporting.precision.emulate import as_typed_by_8_6, rounded
from fsr_deploy.exporting.precision.half_precision import HalfPrecision, Reduced, repair_half
from fsr_deploy.exporting.proof.quality import Judge
from fsr_deploy.exporting.proof.reference import Reference
from fsr_deploy.exporting.rewrite.rewrites import Target
from fsr_deploy.models.source import Source
from fsr_deploy.runtime.backends.onnxruntime import rounds_fp16


@dataclass(frozen=True)
class TypedScheme(Scheme):
    """A scheme of an FP16 graph, for a format of 8 bits.

    ``weights`` are the FP32 weights that are rounded to it, by their names in the graph.
    """

    weights: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    number_format: NumberFormat = INT8

    def write(self, blocks: Collection[str]) -> ModelProto:
        """Return the FP16 graph with these blocks in 8 bits."""
        sites = self.sites(blocks)
        return insert(
            self.model,
            sites,
            self.ranges,
            results=False,
            weights=self.weights,
            number_format=self.number_format,
        )

    def computed(self, blocks: Collection[str]) -> ModelProto:
        """Return that graph with every result rounded to FP16, as a GPU stores it."""
        return rounded(self.write(blocks), "fp16")

    def proven(self, blocks: Collection[str]) -> list[ModelProto]:
        """Return that graph, and the graph as it is where this ONNX Runtime rounds what it computes."""
        runs_here = self.number_format.floating or rounds_fp16(onnxruntime.__version__)
        return [*([self.write(blocks)] if runs_here else []), self.computed(blocks)]


@dataclass(frozen=True)
class UntypedScheme(Scheme):
    """A scheme of an FP32 graph for TensorRT 8.6; ``in_fp32`` tells which modules of the graph it leaves in FP32."""

    in_fp32: Callable[[str], bool] = lambda module: True

    def computed(self, blocks: Collection[str]) -> ModelProto:
        """Return that graph with every result of the other modules rounded to FP16, as TensorRT 8.6 may store it."""
        return as_typed_by_8_6(self.write(blocks), self.in_fp32)

    def proven(self, blocks: Collection[str]) -> list[ModelProto]:
        """Return that graph, and the graph as it is."""
        return [self.write(blocks), self.computed(blocks)]


def typed_scheme(scheme: Scheme, half: ModelProto, number_format: NumberFormat = INT8) -> TypedScheme:
    """Return a scheme of the FP32 graph for the FP16 graph of the same network, written for the same target.

    Both hold the same convolutions in the same order. Those in an FP32 fallback of the FP16 graph stay as they are.
    """
    model = ModelProto()
    model.CopyFrom(half)
    name_precision(model, f"{number_format.name}+fp16")
    matched = _match(scheme.model, half)
    types = {tensor.name: tensor.data_type for tensor in half.graph.initializer}
    exact = {tensor.name: tensor for tensor in scheme.model.graph.initializer}
    blocks: dict[str, list[Site]] = {}
    ranges, weights = {}, {}
    for block, sites in scheme.blocks.items():
        for site in sites:
            ours, theirs = matched[site.node]
            if types[theirs.input[1]] == TensorProto.FLOAT16:
                moved = replace(site, node=theirs.name, source=theirs.input[0], result=theirs.output[0])
                blocks.setdefault(block, []).append(moved)
                ranges[moved.source], ranges[moved.result] = scheme.ranges[site.source], scheme.ranges[site.result]
                weights[theirs.input[1]] = numpy_helper.to_array(exact[ours.input[1]])
    return TypedScheme(model, blocks, ranges, scheme.reasons, False, weights, number_format)


def untyped_scheme(scheme: Scheme, in_fp32: Callable[[str], bool]) -> UntypedScheme:
    """Return a scheme of the FP32 graph for TensorRT 8.6, without the convolutions that it has to leave in FP32."""
    blocks = {block: [site for site in sites if not in_fp32(site.module)] for block, sites in scheme.blocks.items()}
    return UntypedScheme(
        scheme.model,
        {block: sites for block, sites in blocks.items() if sites},
        scheme.ranges,
        scheme.reasons,
        False,
        in_fp32,
    )


def _match(full: ModelProto, half: ModelProto) -> dict[str, tuple[NodeProto, NodeProto]]:
    """Return each convolution of the FP32 graph with that of the FP16 graph, by its name in the FP32 graph."""
    pairs = list(zip(_convolutions(full), _convolutions(half), strict=True))
    for (one, shape), (other, half_shape) in pairs:
        if module_of_node(one.name) != module_of_node(other.name) or shape != half_shape:
            raise AssertionError(f"{one.name} {shape} is {other.name} {half_shape} in the FP16 graph")
    return {one.name: (one, other) for (one, _), (other, _) in pairs}


def _convolutions(model: ModelProto) -> list[tuple[NodeProto, list[int] | None]]:
    """Return the convolutions of a graph in order, each with the shape of its weights, None where they are computed."""
    shapes = {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    return [(node, shapes.get(node.input[1])) for node in model.graph.node if node.op_type == "Conv"]


def to_mixed(
    options: ExportOptions, source: Source, target: Target, directory: Path, reference: Reference, kept: PrecisionMap
) -> Reduced:
    """Turn the FP16 graph that was written, with the modules ``kept`` in FP32, into INT8 or FP8 and FP16.

    Where FP16 alone is over the budget, it is repaired first. Raises ParityError, unless forced, where the budget
    cannot be kept.
    """
    path, number_format = directory / ONNX_NAME, format_of(options.precision)
    judge = Judge(reference.inputs, reference.outputs, reference.truth)
    half = judge(run_graph(rounded(onnx.load(path), "fp16"), judge.inputs))
    say(f"    FP16 alone: {half}")
    if options.repair and not half.within(options.budget):
        kept = repair_half(options, HalfPrecision(fp16_part(options), source, target, judge), directory, kept)
    with tempfile.TemporaryDirectory() as folder:
        full = Path(folder) / ONNX_NAME
        write_graph(in_precision(options, "int8"), source, target, full)
        found = prepare(full, source, reference, options, target=target)
    if options.opset == UNTYPED_OPSET:
        scheme: Scheme = untyped_scheme(found.scheme, fp32_modules(kept, options.io))
    else:
        scheme = typed_scheme(found.scheme, onnx.load(path), number_format)
    if not scheme.blocks:
        raise nothing_to_quantise({name: entry["reason"] for name, entry in kept.items()}, number_format)
    return write_within_budget(options, replace(found, scheme=scheme, fallbacks=kept), path)
