"""A pytest plugin that adds a row for each test as it ends: pytest -p benchmarks.day.gpu_tests, with FSR_GPU_ROWS."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from benchmarks.rows import Rows


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Add the row of a test: of its run, or of what failed or was skipped before or after it."""
    if report.when == "call" or report.outcome != "passed":
        rows = Rows(Path(os.environ["FSR_GPU_ROWS"]), "tests", go_on=True)
        reason = "" if report.outcome == "passed" else str(report.longrepr).strip().splitlines()[-1]
        rows.add({"test": report.nodeid, "when": report.when}, {"outcome": report.outcome, "reason": reason[:300]})
