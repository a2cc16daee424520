"""The step of an export that turns the FP32 graph it has written into 8 bits."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import onnx
from onnx import ModelProto

from fsr_deploy._util.json_records import decode, read_json
from fsr_deploy._util.log import say
from fsr_deploy.bundle.info import INT8_BF16, LAYERS_NAME, ONNX_NAME
from fsr_deploy.bundle.layers import ModuleTable
from fsr_deploy.errors import ParityError
from fsr_deploy.exporting.graph.deployable import Io
from fsr_deploy.exporting.graph.onnx_writer import check_operators
from fsr_deploy.exporting.graph.write import graph_in
from fsr_deploy.exporting.int8.calibration import calibration_faces
from fsr_deploy.exporting.int8.formats import format_of
from fsr_deploy.exporting.int8.scheme import Scheme, damages, make_scheme, quantise
from fsr_deploy.exporting.options import ExportOptions
from fsr_deploy.exporting.precision.blocks import in_network, innermost
from fsr_deploy.exporting.precision.cast import PrecisionMap, precision_map
from fsr_deploy.exporting.precision.half_precision import Reduced
from fsr_deploy.exporting.precision.search import Damage
from fsr_deploy.exporting.proof.latency import better_precision, compare_precisions
from fsr_deploy.exporting.proof.parity import Budget, refuse_unless_forced
from fsr_deploy.exporting.proof.quality import Judge
from fsr_deploy.exporting.proof.reference import Reference
from fsr_deploy.exporting.rewrite.rewrites import Target, rewrite
from fsr_deploy.models.source import Source


@dataclass(frozen=True)
class Quantisation:
    """A graph that can be written in 8 bits: ``scheme`` says how, ``table`` lists its modules, ``judge`` rates faces.

    ``target`` is what it is written for. ``precision`` is "int8", or one of bundle.MIXES with the ``fallbacks`` of the
    FP16 graph, what stays in FP32 there.
    """

    scheme: Scheme
    table: ModuleTable
    judge: Judge
    io: Io = "uint8"
    target: Target = "tensorrt"
    precision: str = "int8"
    fallbacks: PrecisionMap = field(default_factory=dict)

    def write(self, path: Path, budget: Budget, *, repaired: bool) -> PrecisionMap:
        """Write the quantised graph; returns what stays in float and why. Raises ParityError over the budget."""
        graph, reasons, _ = quantise(
            self.scheme, self.table, self.judge, budget, repaired=repaired, ranking=lambda: self._ranking
        )
        onnx.checker.check_model(graph, full_check=True)
        if self.target == "tensorrt":
            check_operators(graph)
        name_precision(graph, self.precision)
        path.write_bytes(graph.SerializeToString(deterministic=True))
        named = {self._name(module): reason for module, reason in reasons.items()}
        rest = {"int8": "fp32", INT8_BF16: "bf16"}.get(self.precision, "fp16")
        in_float = {name: {"precision": rest, "reason": named[name]} for name in named if not self._in_fp32(name)}
        return {**in_float, **self.fallbacks}

    def damages(self) -> list[Damage]:
        """Return what each block does to the faces when it alone is in 8 bits, the worst first."""
        return [replace(damage, module=self._name(damage.module)) for damage in self._ranking]

    @cached_property
    def _ranking(self) -> list[Damage]:
        """The damages, with the blocks' names in the graph."""
        return damages(self.scheme, self.judge, self.table)

    def _in_fp32(self, name: str) -> bool:
        """Tell whether a module of the network is in an FP32 fallback, whose entry then gives the reason."""
        fallback = innermost(name, self.fallbacks)
        return fallback is not None and self.fallbacks[fallback]["precision"] == "fp32"

    def _name(self, module: str) -> str:
        """Return a module's name in the network; operations around the network keep their path."""
        name = in_network(module, self.io)
        return module if name is None else name


def name_precision(model: ModelProto, precision: str) -> None:
    """Write a precision into the metadata of a graph, which sessions heed (onnxruntime.optimisations)."""
    for entry in model.metadata_props:
        entry.value = precision if entry.key == "fsr.precision" else entry.value


def prepare(
    path: Path, source: Source, reference: Reference, options: ExportOptions, *, target: Target, timed: bool = False
) -> Quantisation:
    """Choose the convolutions of an FP32 graph that was written with its layers.json, and calibrate them.

    ``timed`` chooses those that are faster in INT8 on this CPU.
    """
    io, calib, images = options.io, options.int8.calib, options.int8.images
    prefix = "network." if io == "uint8" else ""
    kept = precision_map(rewrite(source.network, target), "fp16")
    float_modules = {f"{prefix}{name}": entry["reason"] for name, entry in kept.items()}
    calibration = calibration_faces(calib, images, source.lr_size, source.scale, source.upsampling, io)
    table: ModuleTable = decode(ModuleTable, read_json(path.with_name(LAYERS_NAME)), "")
    scheme = make_scheme(
        onnx.load(path),
        table,
        float_modules,
        calibration,
        options.int8.calibrator,
        timed=timed,
        number_format=format_of(options.precision),
        unsigned=target == "openvino",
    )
    judge = Judge(reference.inputs, reference.outputs, reference.truth)
    return Quantisation(scheme, table, judge, io, target, options.precision)


def to_int8(
    options: ExportOptions,
    source: Source,
    target: Target,
    directory: Path,
    reference: Reference,
    *,
    compared: bool = True,
) -> Reduced:
    """Turn the FP32 graph that was written into INT8.

    ``compared`` times a graph for ONNX Runtime beside the other precisions. Raises ParityError, unless forced, for an
    engine that then loses to a better one on this machine, or is over its budget with every module in float.
    """
    path = directory / ONNX_NAME
    quantisation = prepare(path, source, reference, options, target=target, timed=target == "onnxruntime")
    reduced = write_within_budget(options, quantisation, path)
    if not compared or target != "onnxruntime":
        return reduced
    return replace(reduced, compared=_compare(options, source, path, quantisation))


def write_within_budget(options: ExportOptions, quantisation: Quantisation, path: Path) -> Reduced:
    """Write the graph within its budget, repaired where that is asked for; raises ParityError unless forced."""
    damages = quantisation.damages() if options.analyze else []
    try:
        kept = quantisation.write(path, options.budget, repaired=options.repair)
    except ParityError as error:
        refuse_unless_forced(error, forced=options.force)
        kept = quantisation.write(path, options.budget, repaired=False)
    return Reduced(kept, damages)


def _compare(options: ExportOptions, source: Source, path: Path, quantisation: Quantisation) -> list[dict[str, Any]]:
    """Return the bundle's ``precisions``: this INT8 graph beside FP32 and FP16 on this CPU."""
    graphs = {
        "fp32": quantisation.scheme.model,
        "fp16": graph_in("fp16", options, source, "onnxruntime"),
        "int8": onnx.load(path),
    }
    figures = compare_precisions(graphs, quantisation.judge, options.batches[0])
    for precision in figures:
        say(f"    {precision}")
    if note := better_precision(figures, "int8"):
        refuse_unless_forced(ParityError(f"{note}; --force publishes it all the same"), forced=options.force)
    return [asdict(precision) for precision in figures]
