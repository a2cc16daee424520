"""The step of an export that brings the written graph to its precision: what stays in float, and what that is worth."""

from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import onnx

from fsr_deploy._util.console import say, warn
from fsr_deploy.bundle.info import MIXED, ONNX_NAME
from fsr_deploy.errors import ParityError
from fsr_deploy.exporting.graph.sessions import run_graph
from fsr_deploy.exporting.graph.write import graph_in, write_graph
from fsr_deploy.exporting.int8.mixed import typed_plan, untyped_plan
from fsr_deploy.exporting.int8.quantise import Plan
from fsr_deploy.exporting.int8.step import Quantisation, prepare_int8
from fsr_deploy.exporting.options import UNTYPED_OPSET, ExportOptions, fp16_part, in_precision
from fsr_deploy.exporting.precision.blocks import fp32_modules
from fsr_deploy.exporting.precision.cast import PrecisionMap
from fsr_deploy.exporting.precision.emulate import rounded
from fsr_deploy.exporting.precision.half_precision import Half
from fsr_deploy.exporting.precision.search import Damage
from fsr_deploy.exporting.proof.latency import compare_precisions, no_bargain
from fsr_deploy.exporting.proof.quality import Judge
from fsr_deploy.exporting.proof.reference import Reference
from fsr_deploy.exporting.rewrite.rewrites import Target
from fsr_deploy.exporting.source import Source


@dataclass(frozen=True)
class Reduced:
    """What a graph in reduced precision became: ``kept`` are the modules in float, ``damages`` those of --analyze.

    ``offers`` are the precisions that were measured side by side.
    """

    kept: PrecisionMap
    damages: list[Damage] = field(default_factory=list)
    offers: list[dict[str, Any]] = field(default_factory=list)


def to_int8(options: ExportOptions, source: Source, target: Target, directory: Path, reference: Reference) -> Reduced:
    """Turn the FP32 graph that was written into INT8.

    Raises ParityError, unless forced, for an engine that loses to a better one on this machine, or over its budget with
    every module in float.
    """
    path = directory / ONNX_NAME
    quantisation = prepare_int8(
        path, source, reference, options.int8, io=options.io, target=target, timed=target == "onnxruntime"
    )
    reduced = _write(options, quantisation, path)
    offers = _compare(options, source, path, quantisation) if target == "onnxruntime" else []
    return replace(reduced, offers=offers)


def to_mixed(
    options: ExportOptions, source: Source, target: Target, directory: Path, reference: Reference, kept: PrecisionMap
) -> Reduced:
    """Turn the FP16 graph that was written, with the modules ``kept`` in FP32, into INT8 and FP16.

    Where FP16 alone is over the budget, it is repaired first. Raises ParityError, unless forced, where the budget
    cannot be kept.
    """
    path = directory / ONNX_NAME
    judge = Judge(reference.inputs, reference.outputs, reference.truth)
    half = judge(run_graph(rounded(onnx.load(path), "fp16"), judge.inputs))
    say(f"    FP16 alone: {half}")
    if options.repair and not half.within(options.budget):
        kept = repair_half(options, Half(fp16_part(options), source, target, judge), directory, kept)
    with tempfile.TemporaryDirectory() as folder:
        full = Path(folder) / ONNX_NAME
        write_graph(in_precision(options, "int8"), source, target, full)
        found = prepare_int8(full, source, reference, options.int8, io=options.io, target=target, timed=False)
    if options.opset == UNTYPED_OPSET:
        plan: Plan = untyped_plan(found.plan, fp32_modules(kept, options.io))
    else:
        plan = typed_plan(found.plan, onnx.load(path))
    return _write(options, replace(found, plan=plan, precision=MIXED, islands=kept), path)


def _write(options: ExportOptions, quantisation: Quantisation, path: Path) -> Reduced:
    damages = quantisation.damages() if options.analyze else []
    try:
        kept = quantisation.write(path, options.budget, repaired=options.repair)
    except ParityError as error:
        _refuse_unless_forced(options, error)
        kept = quantisation.write(path, options.budget, repaired=False)
    return Reduced(kept, damages)


def repair_half(options: ExportOptions, half: Half, directory: Path, kept: PrecisionMap) -> PrecisionMap:
    """Return the fewest blocks of a graph in half precision to FP32; returns what is kept now, and was kept before.

    Raises ParityError, unless forced, where the budget cannot be kept.
    """
    try:
        return half.repair(directory / ONNX_NAME)
    except ParityError as error:
        _refuse_unless_forced(options, error)
        return kept


def _compare(options: ExportOptions, source: Source, path: Path, quantisation: Quantisation) -> list[dict[str, Any]]:
    """Return the bundle's ``precisions``: this INT8 graph beside FP32 and FP16 on this CPU."""
    graphs = {
        "fp32": quantisation.plan.model,
        "fp16": graph_in("fp16", options, source, "onnxruntime"),
        "int8": onnx.load(path),
    }
    offers = compare_precisions(graphs, quantisation.judge, options.batches[0])
    for offer in offers:
        say(f"    {offer}")
    if note := no_bargain(offers, "int8"):
        _refuse_unless_forced(options, ParityError(f"{note}; --force publishes it all the same"))
    return [asdict(offer) for offer in offers]


def _refuse_unless_forced(options: ExportOptions, error: ParityError) -> None:
    if not options.force:
        raise error
    warn(str(error))
