"""A plan, run and compared with the eager model's faces that its bundle carries; needs neither torch nor onnx."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fsr_deploy.bundle.engine_file import EngineFile
from fsr_deploy.bundle.info import PLAN_NAME, REFERENCE_NAME, BundleInfo, PlanInfo
from fsr_deploy.bundle.reference import read_reference, read_truth
from fsr_deploy.errors import MissingError, ParityError
from fsr_deploy.exporting.proof.parity import Budget, Row, gate, prove
from fsr_deploy.exporting.proof.verdict import judged, recorded_budget, without_plan
from fsr_deploy.exporting.report.drawing import ReportFaces
from fsr_deploy.runtime.session import OutOfMemory
from fsr_deploy.runtime.tensorrt.faults import faults_of
from fsr_deploy.runtime.tensorrt.session import TensorRTSession


@dataclass(frozen=True)
class Proven:
    """A plan that was run: its engine's name, what it showed, the faces that are drawn, and what it makes of them."""

    engine: str
    rows: list[Row]
    shown: ReportFaces
    faces: NDArray[np.uint8]


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


def prove_plan(directory: Path, info: BundleInfo, *, device: int = 0) -> Proven:
    """Run a directory's plan at the batch sizes of its profiles against eager's faces in ``reference.npz``."""
    content = (directory / PLAN_NAME).read_bytes()
    file = EngineFile(Path(PLAN_NAME), content, hashlib.sha256(content).hexdigest(), info)
    inputs, eager = read_reference(directory / REFERENCE_NAME, info)
    truth = read_truth(directory / REFERENCE_NAME, info)
    shown = ReportFaces(inputs, eager, inputs if info.io == "uint8" else None)
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


def _gate(rows: list[Row], budget: Budget, plan: PlanInfo, precision: str) -> None:
    """Raise ParityError where the plan is over its budget, with the faults that this TensorRT is known for."""
    try:
        gate(rows, budget)
    except ParityError as error:
        known = [f"{plan.library} has a known fault: {fault}" for fault in faults_of(plan.tensorrt, precision)]
        raise ParityError("\n  ".join([str(error), *known])) from None
