"""The verdict of a bundle, computed from the measurements of its engines: whether all keep the budget, and the notes.
Nothing is copied from an earlier verdict: a new plan has its own rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from fsr_deploy._util.json_records import decode
from fsr_deploy.bundle.info import BundleInfo
from fsr_deploy.errors import InputError
from fsr_deploy.exporting.proof.parity import Budget, Parity, Row, budget_for, forced_notes
from fsr_deploy.runtime.tensorrt.faults import faults_of

PLAN = "TensorRT"  # what the engine's name of a row begins with that was measured of the plan
ANOTHER_FORM = (
    "its graph was not written for TensorRT; a plan of the form for TensorRT should be faster, export it again with "
    "--target tensorrt"
)
NOT_RUN = (
    "not run: the CPU of the export has no BF16, every result was rounded to it instead; the first fsr-run on a CPU "
    "with BF16 proves it"
)


def judged(info: BundleInfo) -> BundleInfo:
    """Return the record with ``parity_passed`` and ``notes`` as its rows and its plan have them."""
    over = forced_notes(recorded_rows(info), recorded_budget(info))
    return replace(info, parity_passed=not over, notes=(*over, *_of_the_graph(info), *_of_the_plan(info)))


def without_plan(parity: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of the graph."""
    return [dict(row) for row in parity if not str(row.get("engine", "")).startswith(PLAN)]


def recorded_budget(info: BundleInfo, path: Path | None = None) -> Budget:
    """Return the budget of a bundle; raises InputError for figures in it that mean nothing here."""
    unknown = sorted(set(info.budget) - {field.name for field in fields(Budget)})
    if unknown:
        raise InputError(
            f"{path or 'bundle.json'}: its budget has {', '.join(unknown)}, which this fsr-deploy cannot hold a plan "
            "to; upgrade fsr-deploy, or export the bundle again"
        )
    return budget_for(info.precision, **info.budget)


@dataclass(frozen=True)
class _Flat:
    """A row as ``Row.as_dict`` writes it; what a row lacks counts for nothing."""

    engine: str = ""
    batch: int = 0
    max_error: float = 0.0
    mean_error: float = 0.0
    psnr_db: float | None = None
    ssim: float = 1.0
    share_off: float = 0.0
    finite: bool = True
    loss_db: float | None = None


def recorded_rows(info: BundleInfo) -> list[Row]:
    """Return the rows of a bundle that its budget holds for; raises InputError for what is none."""
    return _rows(info.parity, "parity")


def worst_rows(info: BundleInfo) -> list[Row]:
    """Return the rows of a bundle that no budget holds for; raises InputError for what is none."""
    return _rows(info.worst_case, "worst_case")


def _rows(records: list[dict[str, Any]], where: str) -> list[Row]:
    try:
        flat: list[_Flat] = decode(list[_Flat], records, where)
    except TypeError as error:
        raise InputError(f"bundle.json: incomplete or damaged: {error}; export the bundle again") from error
    figures = [field.name for field in fields(Parity)]
    return [Row(row.engine, row.batch, Parity(**{name: getattr(row, name) for name in figures})) for row in flat]


def _of_the_graph(info: BundleInfo) -> Iterable[str]:
    if info.graph_target == "openvino" and not any(row.engine.startswith("OpenVINO") for row in recorded_rows(info)):
        yield NOT_RUN


def _of_the_plan(info: BundleInfo) -> Iterable[str]:
    if info.plan is None:
        return
    if info.graph_target != "tensorrt":
        yield ANOTHER_FORM
    for fault in faults_of(info.plan.tensorrt, info.precision):
        if fault.silent:
            yield f"{info.plan.library} has a known fault, this plan was proven all the same: {fault}"
