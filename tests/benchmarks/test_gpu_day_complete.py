"""A GPU day with the benchmarks themselves, on a machine whose TensorRT, CUDA and driver are stand-ins."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import gpu_day
from benchmarks.rows import read_rows
from tests.benchmarks import stand_in_steps
from tests.fakes.interpreter import write_interpreter
from tests.fakes.plans import write_bundle


def test_every_benchmark_of_a_day_writes_what_the_table_reads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_bundle(tmp_path / "bundles" / "tiny-fp16", "fp16")
    pythons = ("--python-with-tensorrt", str(write_interpreter(tmp_path / "python", "8.6")))
    pythons += ("--python-with-torch", str(stand_in_steps.write(tmp_path / "python3")))
    folders = ("--bundles", str(tmp_path / "bundles"), "--out", str(tmp_path / "out"))
    assert gpu_day.main(["600", *folders, *pythons]) == 0
    outcomes = {row["step"]: (row["outcome"], row["reason"]) for row in read_rows(tmp_path / "out" / "steps.jsonl")}
    assert {step for step, (outcome, _) in outcomes.items() if outcome == "done"} == {
        *("facts", "doctor", "build-tiny-fp16", "parity-tiny-fp16", "speed-tiny-fp16", "eager"),
        *("layers-64-tiny-fp16", "layers-1-tiny-fp16", "run-tiny-fp16", "tests", "tests-damaged"),
    }
    assert {outcome for outcome, _ in outcomes.values()} == {"done", "left out"}
    table = capsys.readouterr().out.partition("| --- | --- | --- | --- |")[2]
    lines = [line for line in table.splitlines() if line.startswith("| ")]
    assert [line.split(" | ")[0].removeprefix("| ") for line in lines if "not measured" not in line] == [
        "tiny FP16: the plan's build",
        "tiny FP16 against eager FP32",
        "tiny FP16: in flight with graphs, alone without",
        *(f"tiny FP16: batch 1, {engine}" for engine in ("CUDA graph", "no CUDA graph")),
        *(f"tiny FP16: batch {batch}" for batch in (8, 32, 64)),
        *(f"AMINet, PyTorch {engine}: batch {batch}" for engine, batch, _ in stand_in_steps.EAGER),
        "fsr-run, tiny FP16: 20 png files",
        *(f"tiny FP16: where batch {batch} takes its time" for batch in (64, 1)),
        "tests on the GPU",
    ]
