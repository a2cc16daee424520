"""The export, top down: load, write the graph, run eager, prove, time, describe, publish."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fsr_deploy._util import log
from fsr_deploy._util.log import ProgressCallback, reporting, say, to_callback, warn
from fsr_deploy.bundle.info import MIXES, ONNX_NAME, PLAN_NAME, QUANTISED, Bundle, BundleInfo, write_info
from fsr_deploy.bundle.publish import staged_directory
from fsr_deploy.errors import MissingError, UsageError
from fsr_deploy.exporting.graph.trace import INPUT, OUTPUT
from fsr_deploy.exporting.graph.turing import write_for_turing
from fsr_deploy.exporting.graph.write import write_graph
from fsr_deploy.exporting.int8.mixed import to_mixed
from fsr_deploy.exporting.int8.quantise import to_int8
from fsr_deploy.exporting.options import ExportOptions, fp16_part
from fsr_deploy.exporting.precision.cast import PrecisionMap
from fsr_deploy.exporting.precision.emulate import TYPES
from fsr_deploy.exporting.precision.half_precision import HalfPrecision, Reduced, repair_half
from fsr_deploy.exporting.precision.search import Damage, as_table
from fsr_deploy.exporting.proof.engines import Runner, open_engines, open_plan, open_worst_case
from fsr_deploy.exporting.proof.latency import measure, slower_note
from fsr_deploy.exporting.proof.parity import BUDGETS, Row, gate, prove, shortfalls
from fsr_deploy.exporting.proof.quality import Judge
from fsr_deploy.exporting.proof.reference import MAX_FACES, Reference, lr_faces, make_reference, true_faces
from fsr_deploy.exporting.proof.time_shares import add_shares, record_on_cpu
from fsr_deploy.exporting.report.describe import describe
from fsr_deploy.exporting.report.drawing import Shown, draw
from fsr_deploy.exporting.rewrite.rewrites import Target
from fsr_deploy.exporting.tensorrt.compile_check import check_compiler
from fsr_deploy.exporting.tensorrt.gpus import TURING
from fsr_deploy.exporting.tensorrt.plan import add_plan
from fsr_deploy.models.eager import Eager
from fsr_deploy.models.source import Source, load_source
from fsr_deploy.runtime.machine import machine
from fsr_deploy.runtime.session import OutOfMemory
from fsr_deploy.runtime.tensorrt.availability import why_no_plan
from fsr_deploy.runtime.tensorrt.flavour import RTX


def export(model: str | os.PathLike[str], *, progress: ProgressCallback | None = None, **options: Any) -> Bundle:
    """Export a network: its graph, proven against PyTorch, and the plan where one is built; ``run_export`` with names.

    ``model`` is a registered name or a checkpoint, ``options`` are the other fields of ExportOptions. ``progress`` is
    called with what is counted, how many are done and how many there are. Raises what ExportOptions and ``run_export``
    raise.
    """
    unknown = sorted(set(options) - {field.name for field in fields(ExportOptions)})
    if unknown:
        raise UsageError(f"export has no option {unknown[0]!r}; see ExportOptions for those there are")
    with reporting(to_callback(progress) if progress else None):
        return run_export(ExportOptions(str(model), **options))


def run_export(options: ExportOptions) -> Bundle:
    """Export a network and publish the bundle, whole or not at all.

    Raises UsageError, InputError and MissingError for what cannot be exported, and ParityError, with nothing published,
    for an engine over its budget; ``force`` publishes it all the same and notes that in the bundle.
    """
    graph_target, builds_plan = choose_target(options)
    step = _stopwatch()
    step("load the network and faces to prove with")
    source = load_source(options.model, options.checkpoint, options.lr_size, options.key)
    if not source.trained:
        warn(f"{source.name} has untrained weights, its faces mean nothing; give --checkpoint for real ones")
    faces = lr_faces(options.faces, min(options.batches[2], MAX_FACES), source.lr_size, source.scale)
    destination = options.output or Path(f"{source.name}-{options.precision.replace('+', '-')}")
    with staged_directory(destination) as directory:
        step(f"write the {options.precision} graph")
        first = fp16_part(options) if options.precision in MIXES else options
        kept = write_graph(first, source, graph_target, directory / ONNX_NAME)
        step("run the eager FP32 module")
        reference = run_eager(options, source, faces)
        reference.save(directory, INPUT, OUTPUT)
        reduced, engines, rows = reduce(options, source, graph_target, directory, reference, kept, step)
        damages = analyse(options, reduced, engines[0], graph_target, directory / ONNX_NAME)
        if not options.force:
            gate(rows, options.budget)
        worst = worst_case(options, directory / ONNX_NAME, reference, reduced.kept)
        info = replace(
            describe(options, source, graph_target, reduced.kept, rows, worst),
            precisions=reduced.offers,
            analysis=[damage.as_dict() for damage in damages],
        )
        if options.check_tensorrt and not (builds_plan and options.plan.flavour == RTX.key):  # its build tells the same
            step("compile the graph with TensorRT for RTX")
            info = replace(info, kernels=check_compiler(directory, info, options.plan))
        if builds_plan:
            step("build and prove the TensorRT plan")
            info, proven = add_plan(directory, info, options.plan, force=options.force)
            engines = [open_plan(directory / PLAN_NAME, info, options.plan.device)] if proven else engines
        for note in info.notes:
            warn(note)
        step("time the engine against eager")
        info = replace(info, latency=time_both(options, source, info, engines[0], reference))
        step("draw, describe and publish")
        shown = Shown(reference.inputs, reference.outputs, reference.lr)
        draw(directory, destination.name, info, engines[-1].name, shown, shown.by(engines[-1].run, _largest(info)))
        info = write_info(directory, info)
    step("done")
    return Bundle(destination, info)


def reduce(
    options: ExportOptions,
    source: Source,
    target: Target,
    directory: Path,
    reference: Reference,
    kept: PrecisionMap,
    step: Callable[[str], None],
) -> tuple[Reduced, list[Runner], list[Row]]:
    """Bring the graph that was written, with the modules ``kept`` in FP32, to its precision, and compare it with eager.

    INT8 is repaired before it is compared, half precision after that, where it is over the budget. Returns what became
    of it, the engines that were compared, and what they showed.
    """
    path = directory / ONNX_NAME
    reduced = Reduced(kept)
    if options.precision == "int8":
        step("calibrate and write the graph in INT8")
        reduced = to_int8(options, source, target, directory, reference)
    elif options.precision in MIXES:
        step(f"calibrate and write the graph in {' and '.join(options.precision.upper().split('+'))}")
        reduced = to_mixed(options, source, target, directory, reference, kept)
    if TURING in options.plan.gpus and options.precision in QUANTISED:
        write_for_turing(path)
    step("run the engine and compare")
    engines, rows = compare_engines(options, path, reference, reduced.kept)
    if options.precision in TYPES:
        half = HalfPrecision(options, source, target, Judge(reference.inputs, reference.outputs, reference.truth))
        if options.repair and shortfalls(rows, options.budget):
            step(f"over budget: find the fewest blocks to return from {options.precision} to FP32")
            kept = repair_half(options, half, directory, kept)
            engines, rows = compare_engines(options, path, reference, kept)
        reduced = Reduced(kept, half.damages if options.analyze else [])
    return reduced, engines, rows


def choose_target(options: ExportOptions) -> tuple[Target, bool]:
    """Return what the graph is written for, and whether a plan of it is built here (see ExportOptions).

    Raises MissingError where a plan was asked for and cannot be built.
    """
    if options.target == "onnxruntime":
        return "onnxruntime", False
    if options.check_tensorrt and (reason := why_no_plan(flavour=RTX)):
        raise MissingError(f"--check-tensorrt: {reason}")
    if options.target == "rtx":
        if (reason := why_no_plan(flavour=RTX)) and options.with_plan is not False:
            raise MissingError(f"--target rtx: {reason}")
        return "tensorrt", options.with_plan is not False
    reason = why_no_plan(options.plan.device)
    if reason and options.with_plan:
        raise MissingError(f"--plan: {reason}; without it, --rebuild builds the plan later, where the GPU is")
    if options.target == "auto" and reason and options.precision not in (*TYPES, *MIXES) and not options.check_tensorrt:
        return "onnxruntime", False
    return "tensorrt", not reason and options.with_plan is not False


def run_eager(options: ExportOptions, source: Source, faces: NDArray[np.uint8]) -> Reference:
    """Run the network as it was trained over LR faces, (N, h, w, 3) uint8 RGB."""
    knows_truth = source.trained and options.faces is None
    truth = true_faces(len(faces), source.lr_size * source.scale) if knows_truth else None
    if truth is None and options.budget.max_loss_db != BUDGETS[options.precision].max_loss_db:
        warn(
            "--budget-loss holds for drawn faces and trained weights, whose truth is known; nothing is held to it here"
        )
    with log.progress("eager", len(faces)) as advance:
        return make_reference(Eager(source.network, source.upsampling), faces, options.io, advance, truth)


def compare_engines(
    options: ExportOptions, path: Path, reference: Reference, kept: PrecisionMap
) -> tuple[list[Runner], list[Row]]:
    """Run a written graph in each way that it has to be proven, at the min, opt and max batch."""
    engines = open_engines(path, options.precision, options.io, kept)
    rows: list[Row] = []
    for engine in engines:
        say(f"  {engine.name}")
        rows += _compare(options, engine, reference)
    return engines, rows


def _compare(options: ExportOptions, engine: Runner, reference: Reference) -> list[Row]:
    try:
        with log.progress("engine", sum(set(options.batches))) as advance:
            faces = (reference.inputs, reference.outputs)
            rows = prove(engine.run, engine.name, faces, options.batches, advance, reference.truth)
    except OutOfMemory as error:
        raise MissingError(f"not enough memory to prove the engine: {error}; take a smaller --batch") from error
    for row in rows:
        say(f"    {row}")
    return rows


def worst_case(options: ExportOptions, path: Path, reference: Reference, kept: PrecisionMap) -> list[Row]:
    """Return how close a face comes where every sum in FP16 is rounded on the way, as TensorRT may do it.

    That is told and held to no budget; empty for engines without FP16. One face, because it takes seconds.
    """
    if options.precision not in ("fp16", *MIXES):
        return []
    engine = open_worst_case(path, options.precision, options.io, kept)
    say(f"  at worst on a GPU: {engine.name}; told, not held to the budget")
    rows = prove(engine.run, engine.name, (reference.inputs, reference.outputs), [1])
    say(f"    {rows[0]}")
    return rows


def analyse(options: ExportOptions, reduced: Reduced, engine: Runner, target: Target, path: Path) -> list[Damage]:
    """Return what --analyze found, with each block's share of the engine's time where this machine can tell."""
    damages = reduced.damages
    if damages and target == "onnxruntime" and engine.device == "cpu" and not engine.emulated and options.io == "uint8":
        damages = add_shares(damages, record_on_cpu(path, options.batches[0]), path)
    for line in as_table(damages) if damages else ():
        say(f"    {line}")
    return damages


def time_both(
    options: ExportOptions, source: Source, info: BundleInfo, engine: Runner, reference: Reference
) -> dict[str, Any]:
    """Time the engine against eager on the same device, at batch min and opt, and say where it is slower.

    Returns the bundle's ``latency``, empty where there is no speed to measure.
    """
    if engine.emulated:
        return {}
    device = engine.device if torch.cuda.is_available() else "cpu"
    eager = Eager(source.network, source.upsampling, device)
    batches = {min(batch, _largest(info)) for batch in options.batches[:2]}
    timings = measure(engine.run, eager.run, reference.inputs, batches)
    for timing in timings:
        say(f"    {timing}")
    note = slower_note(timings, options.precision, engine.device)
    if note and info.graph_target == "tensorrt" and engine.device == "cpu" and options.precision in ("fp32", "int8"):
        note += "; this graph is written for TensorRT, ONNX Runtime runs another form of it faster"
    if note:
        warn(note)
    facts = machine()
    return {
        "engine": engine.name,
        "eager": f"PyTorch {torch.__version__} FP32 on {device}",
        "machine": f"{facts.cpu}, {facts.cores} cores",
        "rows": [asdict(timing) for timing in timings],
        "note": note,
    }


def _largest(info: BundleInfo) -> int:
    """Return the largest batch that the engine takes; a graph takes any."""
    return max(batch for profile in info.plan.profiles for batch in profile) if info.plan else info.batches[2]


def _stopwatch() -> Callable[[str], None]:
    """Return a function that logs what begins now, with the seconds since the start."""
    start = time.monotonic()
    return lambda what: say(f"{time.monotonic() - start:6.1f} s  {what}")
