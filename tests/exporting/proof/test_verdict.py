"""What a bundle says of its engines: which rows its verdict is made of, and which are only told."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from fsr_deploy.bundle.info import INFO_NAME, REPORT_NAME, read_bundle, write_info
from fsr_deploy.errors import InputError
from fsr_deploy.exporting.proof.verdict import judged, worst_rows
from fsr_deploy.exporting.tensorrt.config import PlanOptions
from fsr_deploy.exporting.tensorrt.rebuild import rebuild_plan
from tests.fakes.machine import MachineFactory
from tests.fakes.plans import describe, write_bundle

BAD = {"engine": "FP16 sums", "batch": 1, "max_error": 200.0, "psnr_db": 3.0, "finite": False}


def test_the_worst_case_is_told_and_not_held_to_the_budget() -> None:
    held, told = judged(replace(describe(), parity=[BAD])), judged(replace(describe(), worst_case=[BAD]))
    assert not held.parity_passed and held.notes
    assert told.parity_passed and told.notes == ()


def test_a_rebuild_keeps_the_worst_case_and_is_not_judged_by_it(machine: MachineFactory, tmp_path: Path) -> None:
    machine("10.16")
    directory = tmp_path / "bundle"
    write_info(directory, replace(write_bundle(directory), worst_case=[BAD]))
    info = rebuild_plan(directory, PlanOptions())
    assert info.parity_passed and info.worst_case == [BAD]
    assert "The row of FP16 sums has such sums" in (directory / REPORT_NAME).read_text()


def test_a_bundle_from_before_there_was_a_worst_case_is_read(tmp_path: Path) -> None:
    write_bundle(tmp_path)
    record = json.loads((tmp_path / INFO_NAME).read_text())
    del record["worst_case"]
    (tmp_path / INFO_NAME).write_text(json.dumps(record))
    assert worst_rows(read_bundle(tmp_path).info) == []


def test_a_worst_case_that_is_no_row_is_a_damaged_bundle() -> None:
    with pytest.raises(InputError, match=r"damaged: worst_case"):
        worst_rows(replace(describe(), worst_case=[{**BAD, "batch": "one"}]))
