"""The plan of a bundle: built on the machine with the GPU, proven there against the faces that the bundle carries.

Needs neither torch nor onnx, so that a deployment box can do it: ``fsr-export --rebuild DIR``.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fsr_deploy._util.log import say, warn
from fsr_deploy.bundle.engine_file import EngineFile
from fsr_deploy.bundle.info import (
    INFO_NAME,
    ONNX_NAME,
    PLAN_NAME,
    REFERENCE_NAME,
    Bundle,
    BundleInfo,
    place,
    read_bundle,
    write_info,
)
from fsr_deploy.bundle.publish import staged_directory
from fsr_deploy.bundle.reference import read_reference, read_truth
from fsr_deploy.errors import InputError, MissingError, ParityError, UsageError
from fsr_deploy.exporting.precision.blocks import fp32_modules
from fsr_deploy.exporting.proof.parity import Budget, Row, gate, prove
from fsr_deploy.exporting.proof.verdict import ANOTHER_FORM, PLAN, judged, recorded_budget, without_plan
from fsr_deploy.exporting.report.drawing import Shown, draw
from fsr_deploy.exporting.report.page import report_page
from fsr_deploy.exporting.report.versions import with_rebuild
from fsr_deploy.exporting.tensorrt.build import build_plan
from fsr_deploy.exporting.tensorrt.config import PlanOptions
from fsr_deploy.runtime.cuda import api as cuda
from fsr_deploy.runtime.cuda.driver import find_gpu
from fsr_deploy.runtime.session import OutOfMemory
from fsr_deploy.runtime.tensorrt.faults import faults_of
from fsr_deploy.runtime.tensorrt.library import load
from fsr_deploy.runtime.tensorrt.session import TensorRTSession


def why_no_plan(device: int = 0) -> str:
    """Return in one sentence why no plan can be built on this machine, "" where one can."""
    try:
        find_gpu(device)
        load()
        cuda.runtime()
    except MissingError as error:
        return str(error)
    return ""


@dataclass(frozen=True)
class Proven:
    """A plan that was run: its engine's name, what it showed, the faces that are drawn, and what it makes of them."""

    engine: str
    rows: list[Row]
    shown: Shown
    faces: NDArray[np.uint8]


def add_plan(
    directory: Path, info: BundleInfo, options: PlanOptions, *, force: bool = False
) -> tuple[BundleInfo, Proven]:
    """Build ``engine.plan`` beside a directory's ``model.onnx``, prove it and return what is now known, and the proof.

    The directory is the one that a bundle is staged in; it holds ``reference.npz`` too. The plan has to keep
    ``info.budget`` at every batch size of its profiles, or ParityError is raised, unless ``force``. Other errors are
    those of ``build_plan`` and of running the plan. What was known of an earlier plan is left out.
    """
    budget = recorded_budget(info)
    built = build_plan(
        directory / ONNX_NAME, info.precision, info.batches, options, fp32_modules(info.precision_map, info.io)
    )
    (directory / PLAN_NAME).write_bytes(built.content)
    say(f"built {PLAN_NAME}: {len(built.content) / 2**20:.1f} MiB in {built.seconds:.0f} s")
    info = replace(info, plan=built.info)
    proven = prove_plan(directory, info, device=options.device)
    if not force:
        _gate(proven.rows, budget, built.info.tensorrt, info.precision)
    rows = [row.as_dict() for row in proven.rows]
    return judged(replace(info, parity=[*without_plan(info.parity), *rows])), proven


def _gate(rows: list[Row], budget: Budget, tensorrt: str, precision: str) -> None:
    """Raise ParityError where the plan is over its budget, with the faults that this TensorRT is known for."""
    try:
        gate(rows, budget)
    except ParityError as error:
        known = [f"TensorRT {tensorrt} has a known fault: {fault}" for fault in faults_of(tensorrt, precision)]
        raise ParityError("\n  ".join([str(error), *known])) from None


def prove_plan(directory: Path, info: BundleInfo, *, device: int = 0) -> Proven:
    """Run a directory's plan at the batch sizes of its profiles against eager's faces in ``reference.npz``."""
    content = (directory / PLAN_NAME).read_bytes()
    file = EngineFile(Path(PLAN_NAME), content, hashlib.sha256(content).hexdigest(), info)
    inputs, eager = read_reference(directory / REFERENCE_NAME, info)
    truth = read_truth(directory / REFERENCE_NAME, info)
    shown = Shown(inputs, eager, inputs if info.io == "uint8" else None)
    assert info.plan is not None
    batches = {batch for profile in info.plan.profiles for batch in profile}
    session = TensorRTSession(file, f"cuda:{device}", trust=True)

    def run(batch: NDArray[Any]) -> NDArray[Any]:
        return session.submit(batch).result()

    try:
        rows = prove(run, session.info.engine, (inputs, eager), batches, truth=truth)
        return Proven(session.info.engine, rows, shown, shown.by(run, max(batches)))
    except OutOfMemory as error:
        raise MissingError(f"{file.path}: the GPU has too little memory to prove it: {error}") from error
    finally:
        session.close()


def rebuild(bundle: str | os.PathLike[str] | Bundle, *, force: bool = False, **options: Any) -> Bundle:
    """Build the plan of a bundle on this machine; ``options`` are the fields of PlanOptions. See ``rebuild_plan``."""
    unknown = sorted(set(options) - {field.name for field in fields(PlanOptions)})
    if unknown:
        raise UsageError(f"rebuild has no option {unknown[0]!r}; see PlanOptions for those there are")
    return Bundle(place(bundle), rebuild_plan(place(bundle), PlanOptions(**options), force=force))


def rebuild_plan(directory: Path, options: PlanOptions, *, force: bool = False) -> BundleInfo:
    """Build the plan of an existing bundle on this machine and put the bundle back with it, in one step.

    The graph and what was measured of it stay as they were exported; verdict, notes, report and picture are those of
    the new plan. Without profiles in ``options``, those of the plan that is replaced are used, or else the bundle's
    batches. Raises InputError for a bundle that is damaged or holds no graph, ParityError where the plan is over the
    bundle's budget (the bundle is then left untouched), and what ``add_plan`` raises.
    """
    bundle = read_bundle(directory)
    _check_record(bundle)
    if reason := why_no_plan(options.device):
        raise MissingError(reason)
    for name in (ONNX_NAME, REFERENCE_NAME):
        bundle.file(name)
    read_reference(directory / REFERENCE_NAME, bundle.info)  # known before minutes are spent
    if bundle.info.graph_target == "onnxruntime":
        warn(f"{directory}: {ANOTHER_FORM}: {export_again(bundle)}")
    if bundle.info.plan and not options.profiles:
        options = replace(options, profiles=bundle.info.plan.profiles)
    with staged_directory(directory) as staging:
        _copy_all_but_plan(bundle, staging)
        info, proven = add_plan(staging, bundle.info, options, force=force)
        for note in info.notes:
            if note != ANOTHER_FORM:
                warn(note)
        info = replace(info, latency=_of_the_graph(info.latency), versions=with_rebuild(info.versions))
        draw(staging, directory.resolve().name, info, proven.engine, proven.shown, proven.faces)
        return write_info(staging, info)


def export_again(bundle: Bundle) -> str:
    """Return the command that exports a bundle's network again, written for TensorRT; CHECKPOINT stands for a file."""
    info = bundle.info
    words = ["fsr-export", info.model, *(["--checkpoint", "CHECKPOINT"] if info.trained else [])]
    words += [f"--{part}" for part in info.precision.split("+") if part != "fp32"]
    words += ["--lr-size", str(info.lr_size), "--batch", ",".join(map(str, info.batches))]
    words += ["--io", "float"] if info.io == "float" else []
    return shlex.join([*words, "--target", "tensorrt", "-o", str(bundle.path)])


def _check_record(bundle: Bundle) -> None:
    """Raise InputError for a record that no verdict or page could be made of, before a plan is built for minutes."""
    path = bundle.path / INFO_NAME
    recorded_budget(bundle.info, path)
    try:
        report_page(judged(bundle.info), bundle.path.name, b"")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path}: incomplete or damaged: {error!r}; export the bundle again") from error


def _of_the_graph(latency: dict[str, Any]) -> dict[str, Any]:
    """Return the figures of the graph, without what they said of the machine of the export; a plan's are left out."""
    return {} if str(latency.get("engine", "")).startswith(PLAN) or not latency else {**latency, "note": None}


def _copy_all_but_plan(bundle: Bundle, target: Path) -> None:
    for name in bundle.info.files:
        if name != PLAN_NAME:
            shutil.copyfile(bundle.file(name), target / name)
