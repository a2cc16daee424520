"""An INT8 engine that a closer precision outruns on this machine does not pay: refused, or published by force."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from fsr_deploy.bundle.info import read_bundle
from fsr_deploy.cli.export import main
from fsr_deploy.exporting.int8 import quantise
from fsr_deploy.exporting.int8.timing import ConvolutionTiming
from fsr_deploy.exporting.proof.latency import PrecisionFigures, better_precision
from fsr_deploy.models import registry
from fsr_deploy.models.registry import ModelRecord
from tests.exporting.int8.test_quantise import Chain

INT8 = PrecisionFigures("int8", 1, 10.0, 45.0)
REFUSAL = "int8 does not pay on this machine: {} takes {} ms instead of 10.0 at batch 1, and is closer to eager"


@pytest.mark.parametrize(
    ("others", "better"),
    [
        ([("fp32", 8.0, None)], ("fp32", 8.0)),
        ([("fp16", 8.0, 60.0)], ("fp16", 8.0)),
        ([("fp32", 9.0, None), ("fp16", 8.0, 60.0)], ("fp16", 8.0)),
        ([("fp16", 8.0, 45.0)], ("fp16", 8.0)),
        ([("fp16", 8.0, 44.0)], None),
        ([("fp32", 12.0, None)], None),
        ([("fp32", 9.8, None)], None),
    ],
    ids=["fp32", "fp16", "the faster of two", "equally close", "not as close", "slower", "within the noise"],
)
def test_only_a_precision_that_is_as_close_and_faster_is_better(
    others: list[tuple[str, float, float | None]], better: tuple[str, float] | None
) -> None:
    compared = [*(PrecisionFigures(name, 1, ms, psnr) for name, ms, psnr in others), INT8]
    assert better_precision(compared, "int8") == (REFUSAL.format(*better) if better else None)


@pytest.fixture
def slower_than_fp32(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A network whose convolutions pay in INT8 one by one, on a machine where all of them together do not."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setitem(registry._RECORDS, "chain", ModelRecord("chain", Chain, "for tests", "none"))
    pays = ConvolutionTiming(float_ms=1.0, int8_ms=0.5)
    monkeypatch.setattr("fsr_deploy.exporting.int8.timing.measure", lambda unit, site: pays)
    compared = [PrecisionFigures("fp32", 1, 8.0, None), PrecisionFigures("fp16", 1, 20.0, 60.0), INT8]
    monkeypatch.setattr(quantise, "compare_precisions", lambda graphs, judge, batch: compared)


def export(*arguments: str) -> Any:
    small = ("--int8", "--target", "onnxruntime", "--lr-size", "4", "--batch", "1", "--calib-images", "4")
    return CliRunner().invoke(main, ["chain", *small, *arguments])


@pytest.mark.usefixtures("slower_than_fp32")
def test_an_engine_that_does_not_pay_is_refused_with_both_times_and_nothing_is_written(tmp_path: Path) -> None:
    result = export("-o", "engine")
    assert result.exit_code == 5
    sentence = f"error: {REFUSAL.format('fp32', 8.0)}; --force publishes it all the same"
    assert result.stderr.strip().endswith(sentence)
    assert "    int8: 10.0 ms at batch 1, 45.00 dB" in result.stderr
    assert not (tmp_path / "engine").exists()


@pytest.mark.usefixtures("slower_than_fp32")
def test_by_force_it_is_published_with_a_warning_and_the_times_of_all() -> None:
    result = export("-o", "engine", "--force")
    assert result.exit_code == 0, result.stderr
    assert f"warning: {REFUSAL.format('fp32', 8.0)}" in result.stderr
    precisions = read_bundle(Path("engine")).info.precisions
    assert [(row["precision"], row["ms"]) for row in precisions] == [("fp32", 8.0), ("fp16", 20.0), ("int8", 10.0)]
