"""The plan of a bundle: built on the machine with the GPU, proven there against the faces that the bundle carries.

Needs neither torch nor onnx, so that a deployment box can do it: ``fsr-export --rebuild DIR``.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fsr_deploy._util.log import say, warn
from fsr_deploy.bundle.engine_file import EngineFile
from fsr_deploy.bundle.info import (
    INFO_NAME,
    NOT_PROVEN,
    ONNX_NAME,
    PLAN_NAME,
    REFERENCE_NAME,
    Bundle,
    BundleInfo,
    PlanInfo,
    place,
    read_bundle,
    write_info,
)
from fsr_deploy.bundle.publish import staged_directory
from fsr_deploy.bundle.reference import read_reference, read_truth
from fsr_deploy.errors import InputError, MissingError, ParityError, UsageError
from fsr_deploy.exporting.proof.parity import Budget, Row, gate, prove
from fsr_deploy.exporting.proof.verdict import ANOTHER_FORM, PLAN, judged, recorded_budget, without_plan
from fsr_deploy.exporting.report.drawing import Shown, draw, draw_page
from fsr_deploy.exporting.report.page import report_page
from fsr_deploy.exporting.report.versions import with_rebuild
from fsr_deploy.exporting.tensorrt import child
from fsr_deploy.exporting.tensorrt.child import Request
from fsr_deploy.exporting.tensorrt.config import PlanOptions
from fsr_deploy.runtime.cuda import api as cuda
from fsr_deploy.runtime.cuda.driver import find_gpu
from fsr_deploy.runtime.session import OutOfMemory
from fsr_deploy.runtime.tensorrt.faults import faults_of
from fsr_deploy.runtime.tensorrt.flavour import FLAVOURS, TENSORRT, Flavour
from fsr_deploy.runtime.tensorrt.library import load
from fsr_deploy.runtime.tensorrt.session import TensorRTSession


def why_no_plan(device: int = 0, flavour: Flavour = TENSORRT) -> str:
    """Return in one sentence why no plan can be built on this machine, "" where one can."""
    try:
        if flavour.builds_anywhere:
            load(flavour)
            return ""
        find_gpu(device)
        load(flavour)
        cuda.runtime()
    except MissingError as error:
        return str(error)
    return ""


def why_no_run(plan: PlanInfo, device: int = 0) -> str:
    """Return in one sentence why a plan of TensorRT for RTX cannot be run, and so proven, on this machine."""
    try:
        gpu = find_gpu(device)
        load(FLAVOURS[plan.flavour])
        cuda.runtime()
    except MissingError as error:
        return str(error)
    return "" if gpu.sm in plan.gpus else f"it is for {', '.join(plan.gpus)}, this machine has {gpu.name} ({gpu.sm})"


@dataclass(frozen=True)
class Proven:
    """A plan that was run: its engine's name, what it showed, the faces that are drawn, and what it makes of them."""

    engine: str
    rows: list[Row]
    shown: Shown
    faces: NDArray[np.uint8]


def add_plan(
    directory: Path, info: BundleInfo, options: PlanOptions, *, force: bool = False
) -> tuple[BundleInfo, Proven | None]:
    """Build ``engine.plan`` beside a directory's ``model.onnx``, prove it and return what is now known, and the proof.

    The directory is the one that a bundle is staged in; it holds ``reference.npz`` too. A plan of TensorRT for RTX that
    this machine cannot run is not proven: there is no proof then, and the record says so. Errors are those of
    ``build_plan`` and ``add_proof``. What was known of an earlier plan is left out.
    """
    graph, plan = directory / ONNX_NAME, directory / PLAN_NAME
    built = child.build(Request(graph, plan, info.precision, info.batches, options, info.precision_map, info.io))
    say(f"built {PLAN_NAME}: {plan.stat().st_size / 2**20:.1f} MiB in {built.seconds:.0f} s")
    info = replace(info, plan=built.info, kernels=asdict(built.kernels) if built.kernels else {})
    if FLAVOURS[built.info.flavour].builds_anywhere and (reason := why_no_run(built.info, options.device)):
        say(f"{PLAN_NAME} is {NOT_PROVEN} ({reason})")
        return judged(replace(info, parity=without_plan(info.parity))), None
    return add_proof(directory, info, device=options.device, force=force)


def add_proof(directory: Path, info: BundleInfo, *, device: int = 0, force: bool = False) -> tuple[BundleInfo, Proven]:
    """Prove the plan of a directory and return what is now known, and the proof.

    The plan has to keep ``info.budget`` at every batch size of its profiles, or ParityError is raised, unless
    ``force``. Other errors are those of running the plan.
    """
    assert info.plan is not None
    budget, plan = recorded_budget(info), replace(info.plan, proven=True)
    info = replace(info, plan=plan)
    proven = prove_plan(directory, info, device=device)
    if not force:
        _gate(proven.rows, budget, plan, info.precision)
    rows = [row.as_dict() for row in proven.rows]
    return judged(replace(info, parity=[*without_plan(info.parity), *rows])), proven


def _gate(rows: list[Row], budget: Budget, plan: PlanInfo, precision: str) -> None:
    """Raise ParityError where the plan is over its budget, with the faults that this TensorRT is known for."""
    try:
        gate(rows, budget)
    except ParityError as error:
        known = [f"{plan.library} has a known fault: {fault}" for fault in faults_of(plan.tensorrt, precision)]
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
    if reason := why_no_plan(options.device, FLAVOURS[options.flavour]):
        raise MissingError(reason)
    for name in (ONNX_NAME, REFERENCE_NAME):
        bundle.file(name)
    read_reference(directory / REFERENCE_NAME, bundle.info)  # known before minutes are spent
    if bundle.info.graph_target == "onnxruntime":
        warn(f"{directory}: {ANOTHER_FORM}: {export_again(bundle)}")
    if bundle.info.plan and not options.profiles:
        options = replace(options, profiles=bundle.info.plan.profiles)
    with staged_directory(directory) as staging:
        _copy(bundle, staging, {PLAN_NAME})
        info, proven = add_plan(staging, bundle.info, options, force=force)
        info = replace(info, latency=_of_the_graph(info.latency), versions=with_rebuild(info.versions))
        return _finish(directory, staging, info, proven)


def prove_bundle(directory: Path, *, device: int = 0, force: bool = False) -> BundleInfo:
    """Prove a bundle's plan on this machine and write the verdict into the bundle, in one step.

    For a plan that was compiled where no GPU could run it; a proven one is proven again. Raises InputError for a bundle
    that is damaged or holds no plan, and what ``add_proof`` raises: the bundle is then left untouched.
    """
    bundle = read_bundle(directory)
    _check_record(bundle)
    for name in (PLAN_NAME, REFERENCE_NAME):
        bundle.file(name)
    if bundle.info.plan is None:
        raise InputError(f"{directory}: says nothing about its {PLAN_NAME}; build it: fsr-export --rebuild {directory}")
    with staged_directory(directory) as staging:
        _copy(bundle, staging, set())
        info, proven = add_proof(staging, bundle.info, device=device, force=force)
        return _finish(directory, staging, info, proven)


def _finish(directory: Path, staging: Path, info: BundleInfo, proven: Proven | None) -> BundleInfo:
    """Write a staged bundle's record and page, and its picture where the plan was run; says the notes."""
    for note in info.notes:
        if note != ANOTHER_FORM:
            warn(note)
    if proven is not None:
        draw(staging, directory.resolve().name, info, proven.engine, proven.shown, proven.faces)
    else:
        draw_page(staging, directory.resolve().name, info)
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


def _copy(bundle: Bundle, target: Path, left_out: set[str]) -> None:
    for name in bundle.info.files:
        if name not in left_out:
            shutil.copyfile(bundle.file(name), target / name)
