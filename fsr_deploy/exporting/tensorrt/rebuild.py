"""The plan of a bundle that exists: built or proven on the machine with the GPU, and the bundle put back in one step.

Needs neither torch nor onnx, so that a deployment box can do it: ``fsr-export --rebuild DIR``, ``--prove DIR``.
"""

from __future__ import annotations

import os
import shlex
import shutil
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from fsr_deploy._util.log import say, warn
from fsr_deploy._util.sizes import written
from fsr_deploy.bundle.engine_file import read_engine_file
from fsr_deploy.bundle.info import (
    INFO_NAME,
    INT8_BF16,
    MIXED,
    ONNX_NAME,
    PLAN_NAME,
    REFERENCE_NAME,
    SIGNATURE_NAME,
    Bundle,
    BundleInfo,
    place,
    read_bundle,
    write_info,
)
from fsr_deploy.bundle.publish import staged_directory
from fsr_deploy.bundle.reference import read_reference
from fsr_deploy.errors import InputError, MissingError, ParityError, UsageError
from fsr_deploy.exporting.proof.verdict import ANOTHER_FORM, PLAN, judged, recorded_budget
from fsr_deploy.exporting.report.drawing import draw, draw_page
from fsr_deploy.exporting.report.page import report_page
from fsr_deploy.exporting.report.versions import with_rebuild
from fsr_deploy.exporting.tensorrt.config import PlanOptions
from fsr_deploy.exporting.tensorrt.plan import add_plan
from fsr_deploy.exporting.tensorrt.plan_proof import Proven, add_proof
from fsr_deploy.runtime.open import parse_device
from fsr_deploy.runtime.tensorrt.availability import why_no_plan, why_no_run
from fsr_deploy.runtime.tensorrt.flavour import FLAVOURS


def rebuild(bundle: str | os.PathLike[str] | Bundle, *, force: bool = False, **options: Any) -> Bundle:
    """Build the plan of a bundle on this machine; ``options`` are the fields of PlanOptions. See ``rebuild_plan``."""
    unknown = sorted(set(options) - {field.name for field in fields(PlanOptions)})
    if unknown:
        raise UsageError(f"rebuild has no option {unknown[0]!r}; see PlanOptions for those there are")
    return Bundle(place(bundle), rebuild_plan(place(bundle), PlanOptions(**options), force=force))


def prove(bundle: str | os.PathLike[str] | Bundle, *, device: int = 0, force: bool = False) -> Bundle:
    """Prove the plan of a bundle on this machine's GPU number ``device``; see ``prove_bundle``."""
    return Bundle(place(bundle), prove_bundle(place(bundle), device=device, force=force))


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
    read_engine_file(directory / ONNX_NAME)  # what is wrong is known before minutes are spent
    read_reference(directory / REFERENCE_NAME, bundle.info)
    if bundle.info.graph_target != "tensorrt":
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


def prove_on_first_use(directory: Path, device: str) -> None:
    """Prove a bundle's plan where ``device`` ("auto", "cuda:N") is a GPU that can run it, and keep the verdict.

    Where the bundle cannot be written, or is signed as it is, the proof is repeated in each run. Raises ParityError for
    a plan that is over its budget.
    """
    bundle = read_bundle(directory)
    name = parse_device(device)
    index = 0 if name == "auto" else int(name.removeprefix("cuda:"))
    if bundle.info.plan is None or why_no_run(bundle.info.plan, index):
        return
    say(f"{directory / PLAN_NAME} runs for the first time: proving it against the eager model's faces")
    try:
        signed = (directory / SIGNATURE_NAME).exists()
        if os.access(directory.resolve().parent, os.W_OK) and not signed:
            prove_bundle(directory, device=index)
        else:
            reason = (
                f"is signed; fsr-export --prove {directory} --sign KEY ends this" if signed else "cannot be written"
            )
            warn(f"{directory}: {reason}; its plan is proven again in the next run")
            add_proof(directory, bundle.info, device=index)
    except ParityError as error:
        raise ParityError(f"{error}\n  --device cpu runs its {ONNX_NAME}") from None


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
    precision = MIXED if info.precision == INT8_BF16 else info.precision  # the one is OpenVINO's, the other a GPU's
    words += [f"--{part}" for part in precision.split("+") if part != "fp32"]
    words += ["--lr-size", written(info.lr_size), "--batch", ",".join(map(str, info.batches))]
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
