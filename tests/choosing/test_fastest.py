"""fsr-export --fastest: every candidate is held to its budget, the fastest is published, all are told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import fsr_deploy as fsr
from fsr_deploy.bundle.info import BundleInfo, read_bundle
from fsr_deploy.choosing import contest, fastest
from fsr_deploy.choosing.candidates import Candidate
from fsr_deploy.cli.export import main
from fsr_deploy.exporting.graph import trace
from fsr_deploy.exporting.int8.timing import ConvolutionTiming
from fsr_deploy.models import registry
from fsr_deploy.models.registry import ModelRecord
from tests.exporting.int8.test_quantise import Chain

SMALL = ("--lr-size", "4", "--batch", "1,2,3", "--calib-images", "4")
ORT32, ORT8, OPENVINO = (
    Candidate("fp32", "onnxruntime"),
    Candidate("int8", "onnxruntime"),
    Candidate("fp32", "openvino"),
)


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[int]:
    """A machine with two candidates that measures briefly; returns a list that grows by one with each trace."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FSR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(registry._RECORDS, "chain", ModelRecord("chain", Chain, "for tests", "none"))
    pays = ConvolutionTiming(float_ms=1.0, int8_ms=0.5)
    monkeypatch.setattr("fsr_deploy.exporting.int8.timing.measure", lambda unit, site: pays)
    monkeypatch.setattr(fastest, "find_candidates", lambda device: ([ORT32, ORT8], ["no bf16 in OpenVINO: none"]))
    monkeypatch.setattr(contest, "SECONDS", 0.05)
    traces: list[int] = []
    real = trace._trace
    monkeypatch.setattr(trace, "_trace", lambda *given: (traces.append(1), real(*given))[1])
    return traces


def export(*arguments: str) -> Any:
    return CliRunner().invoke(main, ["chain", *SMALL, *arguments])


def by_precision(info: BundleInfo) -> dict[str, dict[str, Any]]:
    return {row["precision"]: row for row in info.precisions}


def test_the_winner_is_published_with_the_figures_of_all(monkeypatch: pytest.MonkeyPatch, machine: list[int]) -> None:
    monkeypatch.setattr(contest, "winner", lambda profile, order, faces: "int8, ONNX Runtime")
    result = export("--fastest", "-o", "engine")
    assert result.exit_code == 0, result.stderr
    bundle = read_bundle(Path("engine"))
    assert bundle.info.precision == "int8" and bundle.info.parity_passed
    rows = by_precision(bundle.info)
    assert [rows[name]["outcome"] for name in ("fp32", "int8")] == ["slower", "published"]
    assert all(row["low_ms"] <= row["ms"] <= row["high_ms"] and row["batch"] == 1 for row in rows.values())
    assert rows["int8"]["psnr_db"] < (rows["fp32"]["psnr_db"] or 999)
    assert len(machine) == 1, "both are made of one trace"
    page = (bundle.path / "report.html").read_text()
    assert "Candidates side by side" in page and "Quality against latency" in page
    assert "int8, ONNX Runtime: " in result.stderr and "; published" in result.stderr
    assert "1 left, and the timing: about" in result.stderr
    assert "    no bf16 in OpenVINO: none" in result.stderr
    assert fsr.load(bundle).info.precision == "int8"


def test_the_forecast_counts_a_trace_for_each_new_form() -> None:
    assert fastest.forecast([ORT32], [ORT8], 35.0, [30.0]) == 5.0
    assert fastest.forecast([ORT32], [ORT8, OPENVINO], 35.0, [30.0]) == 40.0
    assert fastest.forecast([ORT32, ORT8], [OPENVINO, Candidate("int8", "openvino")], 40.0, [30.0]) == 40.0
    assert fastest.forecast([ORT32], [OPENVINO], 5.0, []) == 5.0, "the first one failed before its trace"


def test_what_is_over_its_budget_is_not_timed_and_says_by_how_much() -> None:
    result = export("--fastest", "--budget-db", "60", "--no-repair", "-o", "engine")
    assert result.exit_code == 0, result.stderr
    rows = by_precision(read_bundle(Path("engine")).info)
    assert rows["fp32"]["outcome"] == "published"
    assert rows["int8"]["ms"] is None
    assert "the budget is at least 60 dB" in rows["int8"]["outcome"]
    assert "the budget is at least 60 dB" in Path("engine/report.html").read_text()


def test_where_none_keeps_its_budget_nothing_is_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def build(*given: Any, **options: Any) -> None:
        raise fsr.ParityError("the engine differs:\n  39.12 dB, the budget is at least 40 dB")

    monkeypatch.setattr(fastest, "build", build)
    result = export("--fastest", "-o", "engine")
    assert result.exit_code == 5
    faults = [f"  {one.title}: the engine differs: 39.12 dB, the budget is at least 40 dB" for one in (ORT32, ORT8)]
    assert result.stderr.strip().endswith("\n".join(["error: no candidate keeps its budget:", *faults]))
    assert not (tmp_path / "engine").exists()


def test_in_openvino_it_is_proven_and_run_with_openvino_and_timed_many_faces_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("openvino")
    monkeypatch.setattr(fastest, "find_candidates", lambda device: ([OPENVINO], []))
    bundle = fsr.fastest("chain", goal="throughput", lr_size=4, batches=(1, 1, 1))
    assert bundle.info.graph_target == "openvino"
    assert {row["engine"][:8] for row in bundle.info.parity} == {"OpenVINO"}
    (row,) = bundle.info.precisions
    assert row["goal"] == "throughput" and row["batch"] >= contest.AT_A_TIME
    assert fsr.load(bundle).info.engine.startswith("OpenVINO")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--for", "latency"), "--for latency says what --fastest times; give --fastest too"),
        (("--fastest", "--for", "both"), "--for both: not one of latency, throughput"),
        (("--fastest", "--int8"), "--fastest chooses among all engines of this machine; leave --int8 out"),
        (("--fastest", "--target", "onnx"), "--fastest chooses among all engines of this machine; leave --target out"),
        (("--fastest", "--no-plan"), "leave --plan/--no-plan out"),
        (("--fastest", "--force"), "leave --force out"),
        (("--fastest", "--analyze"), "leave --analyze out"),
        (("--fastest", "--level", "5"), "--level says how a plan is built, and this machine builds none; leave it out"),
        (("--fastest", "--budget-db", "-1"), "--budget-db -1.0: give a number from 0 on"),
    ],
)
def test_an_option_without_effect_is_refused_before_any_work(arguments: tuple[str, ...], sentence: str) -> None:
    result = export(*arguments)
    assert result.exit_code == 2
    assert sentence in result.stderr


def test_python_refuses_them_too() -> None:
    with pytest.raises(fsr.UsageError, match="fastest has no option 'precision'; it has goal, budget_db"):
        fsr.fastest("chain", precision="int8")
