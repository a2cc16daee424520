"""The export, top down: load, write the graph, run eager, prove, time, describe, publish."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from fsr_deploy.bundle import (
    LAYERS_NAME,
    ONNX_NAME,
    PICTURE_NAME,
    PLAN_NAME,
    REPORT_NAME,
    Bundle,
    BundleInfo,
    write_info,
)
from fsr_deploy.console import progress, say, warn
from fsr_deploy.errors import MissingError, ParityError
from fsr_deploy.export.bargain import compare_precisions, no_bargain
from fsr_deploy.export.costs import write_layers
from fsr_deploy.export.deploy import prepare
from fsr_deploy.export.describe import describe
from fsr_deploy.export.engine import Engine, open_engines, open_plan
from fsr_deploy.export.graph import INPUT, OUTPUT, export_onnx
from fsr_deploy.export.int8.step import prepare_int8
from fsr_deploy.export.latency import measure, slower_note
from fsr_deploy.export.options import DEFAULT_OPSETS, ExportOptions
from fsr_deploy.export.parity import Row, gate, prove
from fsr_deploy.export.pictures import MAX_ROWS, parity_picture
from fsr_deploy.export.precision import PrecisionMap
from fsr_deploy.export.reference import MAX_FACES, Eager, Reference, as_faces, lr_faces, make_reference
from fsr_deploy.export.report import report_page
from fsr_deploy.export.rewrites import Target
from fsr_deploy.export.source import Source, load_source
from fsr_deploy.export.tensorrt import add_plan, why_no_plan
from fsr_deploy.images import encode_frame
from fsr_deploy.runtime.session import OutOfMemory
from fsr_deploy.staging import staged_directory


def export(options: ExportOptions) -> Bundle:
    """Export a network and publish the bundle, whole or not at all.

    Raises UsageError, InputError and MissingError for what cannot be exported, and ParityError, with nothing published,
    for an engine over its budget; ``force`` publishes it all the same and notes that in the bundle.
    """
    builds_plan = wants_plan(options)
    step = _stopwatch()
    step("load the network and faces to prove with")
    source = load_source(options.model, options.checkpoint, options.lr_size)
    if not source.trained:
        warn(f"{source.name} has untrained weights, its faces mean nothing; give --checkpoint for real ones")
    faces = lr_faces(options.faces, min(options.batches[2], MAX_FACES), source.lr_size, source.scale)
    destination = options.output or Path(f"{source.name}-{options.precision}")
    with staged_directory(destination) as directory:
        step(f"write the {options.precision} graph")
        graph_target = written_for(options, builds_plan)
        kept = write_graph(options, source, graph_target, directory / ONNX_NAME)
        step("run the eager FP32 module")
        reference = run_eager(options, source, faces)
        reference.save(directory, INPUT, OUTPUT)
        offers: list[dict[str, Any]] = []
        analysis: list[dict[str, Any]] = []
        if options.precision == "int8":
            step("calibrate and write the graph in INT8")
            kept, offers, analysis = to_int8(options, source, graph_target, directory, reference)
        step("run the engine and compare")
        engines = open_engines(directory / ONNX_NAME, options.precision, options.io)
        rows = compare_engines(options, engines, reference)
        info = replace(describe(options, source, graph_target, kept, rows), precisions=offers, analysis=analysis)
        if builds_plan:
            step("build and prove the TensorRT plan")
            info = add_plan(directory, info, options.plan, force=options.force)
            engines = [open_plan(directory / PLAN_NAME, info, options.plan.device)]
        for note in info.notes:
            warn(note)
        step("time the engine against eager")
        info = replace(info, latency=time_both(options, source, engines[0], reference))
        step("draw, describe and publish")
        draw(directory, destination.name, info, engines[-1], reference)
        info = write_info(directory, info)
    step("done")
    return Bundle(destination, info)


def wants_plan(options: ExportOptions) -> bool:
    """Tell whether a TensorRT plan is built; raises MissingError where it was asked for and cannot be."""
    if options.target == "onnx":
        return False
    reason = why_no_plan(options.plan.device)
    if reason and options.target == "trt":
        raise MissingError(f"--target trt: {reason}; without it, --rebuild builds the plan later, where the GPU is")
    return not reason


def written_for(options: ExportOptions, builds_plan: bool) -> Target:
    """Return what the graph is rewritten for: where it will run.

    Without a plan, that is the CPU, except for FP16 and BF16, which are worth their name on a GPU only.
    """
    if options.target == "onnx":
        return "cpu"
    return "trt" if builds_plan or options.precision in ("fp16", "bf16") else "cpu"


def write_graph(options: ExportOptions, source: Source, target: Target, path: Path) -> PrecisionMap:
    """Write the typed ONNX graph and what its modules cost; returns which modules stay in FP32, and why."""
    deployable, kept = prepare(
        source.network,
        lr_size=source.lr_size,
        scale=source.scale,
        precision="fp32" if options.precision == "int8" else options.precision,
        io=options.io,
        target=target,
    )
    export_onnx(
        deployable,
        path,
        lr_size=source.lr_size,
        batches=options.batches,
        precision=options.precision,
        opset=options.opset or DEFAULT_OPSETS[options.precision],
        metadata={"model": source.name, "trained": str(source.trained).lower()},
        scale=source.scale,
    )
    write_layers(path, deployable, source.network, path.with_name(LAYERS_NAME))
    return kept


def to_int8(
    options: ExportOptions, source: Source, target: Target, directory: Path, reference: Reference
) -> tuple[PrecisionMap, list[dict[str, Any]], list[dict[str, Any]]]:
    """Turn the FP32 graph that was written into INT8.

    Returns what stays in float and why, and the bundle's ``precisions`` and ``analysis``. Raises ParityError, unless
    forced, for an engine that loses to a better one on this machine.
    """
    path = directory / ONNX_NAME
    quantisation = prepare_int8(
        path,
        source,
        reference,
        options.int8,
        io=options.io,
        target=target,
        faces=options.faces,
    )
    analysis = [damage.as_dict() for damage in quantisation.damages()] if options.analyze else []
    kept = quantisation.write(path, options.budget, repaired=options.int8.repair)
    if target != "cpu":
        return kept, [], analysis
    graphs = {"fp32": quantisation.plan.model, "fp16": half(options, source, target), "int8": onnx.load(path)}
    offers = compare_precisions(graphs, quantisation.judge, options.batches[0])
    for offer in offers:
        say(f"    {offer}")
    if (note := no_bargain(offers, "int8")) and not options.force:
        raise ParityError(f"{note}; --force publishes it all the same")
    return kept, [asdict(offer) for offer in offers], analysis


def half(options: ExportOptions, source: Source, target: Target) -> onnx.ModelProto:
    """Return the FP16 graph of the same network."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ONNX_NAME
        write_graph(replace(options, precision="fp16"), source, target, path)
        return onnx.load(path)


def run_eager(options: ExportOptions, source: Source, faces: NDArray[np.uint8]) -> Reference:
    """Run the network as it was trained over LR faces, (N, h, w, 3) uint8 RGB."""
    with progress("eager", len(faces)) as advance:
        return make_reference(Eager(source.network, source.scale), faces, options.io, advance)


def compare_engines(options: ExportOptions, engines: Sequence[Engine], reference: Reference) -> list[Row]:
    """Run the engines at the min, opt and max batch; raises ParityError over budget unless forced."""
    rows: list[Row] = []
    for engine in engines:
        say(f"  {engine.name}")
        rows += _compare(options, engine, reference)
    if not options.force:
        gate(rows, options.budget)
    return rows


def _compare(options: ExportOptions, engine: Engine, reference: Reference) -> list[Row]:
    try:
        with progress("engine", sum(set(options.batches))) as advance:
            rows = prove(engine.run, engine.name, (reference.inputs, reference.outputs), options.batches, advance)
    except OutOfMemory as error:
        raise MissingError(f"not enough memory to prove the engine: {error}; take a smaller --batch") from error
    for row in rows:
        say(f"    {row}")
    return rows


def time_both(options: ExportOptions, source: Source, engine: Engine, reference: Reference) -> dict[str, Any]:
    """Time the engine against eager on the same device, at batch min and opt, and say where it is slower.

    Returns the bundle's ``latency``, empty where there is no speed to measure.
    """
    if engine.emulated:
        return {}
    device = engine.device if torch.cuda.is_available() else "cpu"
    eager = Eager(source.network, source.scale, device)
    timings = measure(engine.run, eager.run, reference.inputs, options.batches[:2])
    for timing in timings:
        say(f"    {timing}")
    if note := slower_note(timings, options.precision, engine.device):
        warn(note)
    return {
        "engine": engine.name,
        "eager": f"PyTorch {torch.__version__} FP32 on {device}",
        "rows": [asdict(timing) for timing in timings],
        "note": note,
    }


def draw(directory: Path, name: str, info: BundleInfo, engine: Engine, reference: Reference) -> None:
    """Write parity.png and the report that shows it; ``name`` is what the bundle will be called.

    ``engine`` is the plan, or else the strictest of those that were proven.
    """
    inputs, outputs = reference.inputs[:MAX_ROWS], as_faces(reference.outputs[:MAX_ROWS])
    picture = parity_picture(
        reference.lr, reference.upsampled, outputs, as_faces(engine.run(inputs)), _footer(info, engine)
    )
    content = encode_frame(picture, ".png")
    (directory / PICTURE_NAME).write_bytes(content)
    (directory / REPORT_NAME).write_text(report_page(info, name, content), encoding="utf-8")


def _footer(info: BundleInfo, engine: Engine) -> str:
    """Return the line under the picture."""
    parts = [f"{info.model} {info.precision} on {engine.name}"]
    parts += [] if info.trained else ["untrained weights"]
    return ", ".join(parts + ([] if info.parity_passed else ["over its parity budget"]))


def _stopwatch() -> Callable[[str], None]:
    """Return a function that says what begins now, and how long after the start that is."""
    start = time.monotonic()
    return lambda what: say(f"{time.monotonic() - start:6.1f} s  {what}")
