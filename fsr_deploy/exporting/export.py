"""The export, top down: load, write the graph, run eager, prove, time, describe, publish."""

from __future__ import annotations

import os
import time
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import torch

from fsr_deploy._util.log import ProgressCallback, reporting, say, to_callback, warn
from fsr_deploy.bundle.info import Bundle, BundleInfo, write_info
from fsr_deploy.bundle.publish import staged_directory
from fsr_deploy.errors import UsageError
from fsr_deploy.exporting.build import Built, ExportInputs, Step, build
from fsr_deploy.exporting.options import ExportOptions
from fsr_deploy.exporting.proof.engines import Runner
from fsr_deploy.exporting.proof.latency import measure, slower_note
from fsr_deploy.exporting.proof.reference import Reference
from fsr_deploy.exporting.report.drawing import ReportFaces, draw
from fsr_deploy.exporting.target import choose_target
from fsr_deploy.models.eager import Eager
from fsr_deploy.models.source import Source
from fsr_deploy.runtime.machine import machine


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
    choose_target(options)  # what this machine lacks is told before any work
    step = stopwatch()
    step("load the network and faces to prove with")
    work = ExportInputs(options)
    destination = options.output or Path(f"{work.source.name}-{options.precision.replace('+', '-')}")
    with staged_directory(destination) as directory:
        built = build(options, work, directory, step)
        info = finish(built, work, directory, destination.name, step)
    step("done")
    return Bundle(destination, info)


def finish(built: Built, work: ExportInputs, directory: Path, name: str, step: Step) -> BundleInfo:
    """Time an engine in its directory, draw it, and write what is known of it; ``name`` is that of the bundle."""
    options, info = built.options, built.info
    for note in info.notes:
        warn(note)
    reference = work.reference(options, step)
    step("time the engine against eager")
    info = replace(info, latency=time_both(options, work.source, info, built.engines[0], reference))
    step("draw, describe and publish")
    shown = ReportFaces(reference.inputs, reference.outputs, reference.lr)
    draw(directory, name, info, built.engines[-1].name, shown, shown.by(built.engines[-1].run, _largest(info)))
    return write_info(directory, info)


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


def stopwatch() -> Step:
    """Return a function that logs what begins now, with the seconds since the start."""
    start = time.monotonic()
    return lambda what: say(f"{time.monotonic() - start:6.1f} s  {what}")
