"""One engine of a network, built and proven in a directory: its graph, in its precision, and its plan."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fsr_deploy._util import log
from fsr_deploy._util.log import say, warn
from fsr_deploy.bundle.info import INT8_BF16, MIXES, ONNX_NAME, PLAN_NAME, QUANTISED, BundleInfo
from fsr_deploy.errors import MissingError
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
from fsr_deploy.exporting.proof.parity import BUDGETS, Row, gate, prove, shortfalls
from fsr_deploy.exporting.proof.quality import Judge
from fsr_deploy.exporting.proof.reference import MAX_FACES, Reference, lr_faces, make_reference, true_faces
from fsr_deploy.exporting.proof.time_shares import add_shares, record_on_cpu
from fsr_deploy.exporting.report.describe import describe
from fsr_deploy.exporting.rewrite.rewrites import Target
from fsr_deploy.exporting.target import choose_target
from fsr_deploy.exporting.tensorrt.compile_check import check_compiler
from fsr_deploy.exporting.tensorrt.gpus import TURING
from fsr_deploy.exporting.tensorrt.plan import add_plan
from fsr_deploy.models.eager import Eager
from fsr_deploy.models.source import Source, load_source
from fsr_deploy.runtime.session import OutOfMemory
from fsr_deploy.runtime.tensorrt.flavour import RTX

Step = Callable[[str], None]


class ExportInputs:
    """What all engines of a network share: the network, LR faces, and what eager makes of them, run once."""

    def __init__(self, options: ExportOptions) -> None:
        self.source = load_source(options.model, options.checkpoint, options.lr_size, options.key)
        if not self.source.trained:
            warn(f"{self.source.name} has untrained weights, its faces mean nothing; give --checkpoint for real ones")
        count = min(options.batches[2], MAX_FACES)
        self._faces = lr_faces(options.faces, count, self.source.lr_size, self.source.scale)
        self._reference: Reference | None = None

    def reference(self, options: ExportOptions, step: Step) -> Reference:
        """Return the faces and eager's results; ``options`` differ in precision and target only."""
        if self._reference is None:
            step("run the eager FP32 module")
            self._reference = run_eager(options, self.source, self._faces)
        return self._reference


@dataclass(frozen=True)
class Built:
    """An engine in its directory: what is known of it, and the engines that it was proven with; the first is timed."""

    options: ExportOptions
    info: BundleInfo
    engines: list[Runner]


def build(options: ExportOptions, work: ExportInputs, directory: Path, step: Step, *, alone: bool = True) -> Built:
    """Write, reduce and prove an engine in a directory, and build its plan where one is built.

    ``alone`` compares INT8 with the other precisions here, see ``to_int8``. Raises ParityError for an engine over its
    budget, unless forced, and MissingError for what this machine lacks.
    """
    target, builds_plan = choose_target(options)
    source, path = work.source, directory / ONNX_NAME
    step(f"write the {options.precision} graph")
    first = fp16_part(options) if options.precision in MIXES else options
    kept = write_graph(first, source, target, path)
    reference = work.reference(options, step)
    reference.save(directory, INPUT, OUTPUT)
    reduced, engines, rows = reduce(options, source, target, directory, reference, kept, step, alone=alone)
    damages = analyse(options, reduced, engines[0], target, path)
    if not options.force:
        gate(rows, options.budget)
    worst = worst_case(options, path, reference, reduced.kept)
    info = replace(
        describe(options, source, target, reduced.kept, rows, worst),
        precisions=reduced.compared,
        analysis=[damage.as_dict() for damage in damages],
    )
    if options.check_tensorrt and not (builds_plan and options.plan.flavour == RTX.key):  # its build tells the same
        step("compile the graph with TensorRT for RTX")
        info = replace(info, kernels=check_compiler(directory, info, options.plan))
    if builds_plan:
        step("build and prove the TensorRT plan")
        info, proven = add_plan(directory, info, options.plan, force=options.force)
        engines = [open_plan(directory / PLAN_NAME, info, options.plan.device)] if proven else engines
    return Built(options, info, engines)


def reduce(
    options: ExportOptions,
    source: Source,
    target: Target,
    directory: Path,
    reference: Reference,
    kept: PrecisionMap,
    step: Step,
    *,
    alone: bool = True,
) -> tuple[Reduced, list[Runner], list[Row]]:
    """Bring the graph that was written, with the modules ``kept`` in FP32, to its precision, and compare it with eager.

    INT8 is repaired before it is compared, half precision after that, where it is over the budget. Returns what became
    of it, the engines that were compared, and what they showed.
    """
    path = directory / ONNX_NAME
    reduced = Reduced(kept)
    if options.precision in ("int8", INT8_BF16):
        step("calibrate and write the graph in INT8")
        reduced = to_int8(options, source, target, directory, reference, compared=alone)
    elif options.precision in MIXES:
        step(f"calibrate and write the graph in {' and '.join(options.precision.upper().split('+'))}")
        reduced = to_mixed(options, source, target, directory, reference, kept)
    if TURING in options.plan.gpus and options.precision in QUANTISED:
        write_for_turing(path)
    step("run the engine and compare")
    engines, rows = compare_engines(options, path, reference, reduced.kept, target)
    if options.precision in TYPES:
        half = HalfPrecision(options, source, target, Judge(reference.inputs, reference.outputs, reference.truth))
        if options.repair and shortfalls(rows, options.budget):
            step(f"over budget: find the fewest blocks to return from {options.precision} to FP32")
            kept = repair_half(options, half, directory, kept)
            engines, rows = compare_engines(options, path, reference, kept, target)
        reduced = Reduced(kept, half.damages if options.analyze else [])
    return reduced, engines, rows


def run_eager(options: ExportOptions, source: Source, faces: NDArray[np.uint8]) -> Reference:
    """Run the network as it was trained over LR faces, (N, h, w, 3) uint8 RGB."""
    knows_truth = source.trained and options.faces is None
    truth = true_faces(len(faces), source.sr_shape) if knows_truth else None
    if truth is None and options.budget.max_loss_db != BUDGETS[options.precision].max_loss_db:
        warn(
            "--budget-loss holds for drawn faces and trained weights, whose truth is known; nothing is held to it here"
        )
    with log.progress("eager", len(faces)) as advance:
        return make_reference(Eager(source.network, source.upsampling), faces, options.io, advance, truth)


def compare_engines(
    options: ExportOptions, path: Path, reference: Reference, kept: PrecisionMap, target: Target
) -> tuple[list[Runner], list[Row]]:
    """Run a written graph in each way that it has to be proven, at the min, opt and max batch."""
    engines = open_engines(path, options.precision, options.io, kept, target)
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
