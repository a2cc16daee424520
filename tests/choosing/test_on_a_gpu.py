"""Where a plan can be built, the candidates are plans; the GPU is a stand-in, so that times mean nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

import fsr_deploy as fsr
from fsr_deploy.bundle.info import PLAN_NAME
from fsr_deploy.choosing import candidates, contest
from fsr_deploy.models import registry
from fsr_deploy.models.registry import ModelRecord
from tests.exporting.int8.test_quantise import Chain
from tests.fakes.machine import MachineFactory


@pytest.mark.integration
@pytest.mark.parametrize("goal", ["latency", "throughput"])
def test_the_plan_of_the_winner_is_published(
    goal: str, machine: MachineFactory, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    machine("10.16")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(registry._RECORDS, "chain", ModelRecord("chain", Chain, "for tests", "none"))
    monkeypatch.setattr(candidates, "ON_A_GPU", ("fp16", "int8"))
    monkeypatch.setattr(contest, "SECONDS", 0.05)
    bundle = fsr.fastest("chain", goal=goal, lr_size=4, batches=(1, 2, 3))
    assert bundle.info.plan is not None and bundle.file(PLAN_NAME).is_file()
    rows = {row["precision"]: row for row in bundle.info.precisions}
    assert set(rows) == {"fp16", "int8"} and rows[bundle.info.precision]["outcome"] == "published"
    assert all(row["engine"].startswith("TensorRT 10.16") and row["ms"] > 0 for row in rows.values())
