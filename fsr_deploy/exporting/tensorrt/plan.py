"""The plan of a bundle: built on the machine with the GPU, proven there against the faces that the bundle carries.

Needs neither torch nor onnx, so that a deployment box can do it: ``fsr-export --rebuild DIR``.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from fsr_deploy._util.log import say
from fsr_deploy.bundle.engine_file import EngineFile
from fsr_deploy.bundle.info import (
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
from fsr_deploy.errors import MissingError, UsageError
from fsr_deploy.exporting.precision.blocks import fp32_modules
from fsr_deploy.exporting.proof.parity import Row, budget_for, forced_notes, gate, prove, shortfalls
from fsr_deploy.exporting.tensorrt.build import build_plan
from fsr_deploy.exporting.tensorrt.config import PlanOptions
from fsr_deploy.runtime.cuda import api as cuda
from fsr_deploy.runtime.cuda.driver import find_gpu
from fsr_deploy.runtime.session import OutOfMemory
from fsr_deploy.runtime.tensorrt.library import load
from fsr_deploy.runtime.tensorrt.session import TensorRTSession

ENGINE = "TensorRT"


def why_no_plan(device: int = 0) -> str:
    """Return in one sentence why no plan can be built on this machine, "" where one can."""
    try:
        find_gpu(device)
        load()
        cuda.runtime()
    except MissingError as error:
        return str(error)
    return ""


def add_plan(directory: Path, info: BundleInfo, options: PlanOptions, *, force: bool = False) -> BundleInfo:
    """Build ``engine.plan`` beside a directory's ``model.onnx``, prove it and return what is now known.

    The directory is the one that a bundle is staged in; it holds ``reference.npz`` too. The plan has to keep
    ``info.budget`` at every batch size of its profiles, or ParityError is raised, unless ``force``. Other errors are
    those of ``build_plan`` and of running the plan.
    """
    built = build_plan(
        directory / ONNX_NAME, info.precision, info.batches, options, fp32_modules(info.precision_map, info.io)
    )
    (directory / PLAN_NAME).write_bytes(built.content)
    say(f"built {PLAN_NAME}: {len(built.content) / 2**20:.1f} MiB in {built.seconds:.0f} s")
    info = replace(info, plan=built.info)
    rows = prove_plan(directory, info, device=options.device)
    budget = budget_for(info.precision, **info.budget)
    if not force:
        gate(rows, budget)
    others = [row for row in info.parity if not str(row.get("engine", "")).startswith(ENGINE)]
    return replace(
        info,
        parity=[*others, *(row.as_dict() for row in rows)],
        parity_passed=info.parity_passed and not shortfalls(rows, budget),
        notes=(*info.notes, *forced_notes(rows, budget)),
    )


def prove_plan(directory: Path, info: BundleInfo, *, device: int = 0) -> list[Row]:
    """Run a directory's plan at the batch sizes of its profiles against eager's faces in ``reference.npz``."""
    content = (directory / PLAN_NAME).read_bytes()
    file = EngineFile(Path(PLAN_NAME), content, hashlib.sha256(content).hexdigest(), info)
    reference = read_reference(directory / REFERENCE_NAME, info)
    truth = read_truth(directory / REFERENCE_NAME, info)
    assert info.plan is not None
    session = TensorRTSession(file, f"cuda:{device}", trust=True)
    try:
        batches = {batch for profile in info.plan.profiles for batch in profile}
        return prove(lambda batch: session.submit(batch).result(), session.info.engine, reference, batches, truth=truth)
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

    Everything else stays as it was exported. Without profiles in ``options``, those of the plan that is replaced are
    used, or else the bundle's batches. Raises InputError for a bundle that is damaged or holds no graph,
    ParityError where the plan is over the bundle's budget (the bundle is then left untouched), and what ``add_plan``
    raises.
    """
    bundle = read_bundle(directory)
    if reason := why_no_plan(options.device):
        raise MissingError(reason)
    for name in (ONNX_NAME, REFERENCE_NAME):
        bundle.file(name)
    read_reference(directory / REFERENCE_NAME, bundle.info)  # known before minutes are spent
    if bundle.info.plan and not options.profiles:
        options = replace(options, profiles=bundle.info.plan.profiles)
    with staged_directory(directory) as staging:
        _copy_all_but_plan(bundle, staging)
        return write_info(staging, add_plan(staging, bundle.info, options, force=force))


def _copy_all_but_plan(bundle: Bundle, target: Path) -> None:
    for name in bundle.info.files:
        if name != PLAN_NAME:
            shutil.copyfile(bundle.file(name), target / name)
