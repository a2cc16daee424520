"""The table of a day: goals beside figures, and the reason where there is no figure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.day.figures import Figures
from benchmarks.day.journal import Journal
from benchmarks.day.lines import IN_FLIGHT, lines
from benchmarks.day.steps import steps
from benchmarks.day.table import table
from benchmarks.rows import append_row

AMINET = {"bundle": "aminet-fp16"}
LATENCY: dict[str, Any] = {"question": "speed", **AMINET, "engine": "TensorRT, CUDA graph", "batch": 1, "p99_ms": 2.0}
RATE = {"question": "speed", **AMINET, "engine": IN_FLIGHT, "gpu_mib": 900.0}
PARITY = {"question": "parity", **AMINET, "comparison": "eager in FP32"}
IN_ORDER = {"question": "parity", **AMINET, "comparison": "in flight with graphs, one at a time without"}
COMPILED = {"question": "eager", "model": "aminet", "engine": "torch.compile max-autotune", "batch": 64, "ms": 1.0}
RUN = {"question": "pipeline", **AMINET, "format": "png", "faces": 2000, "end_to_end": 4e3, "bottleneck": "encode"}
TEST = {"question": "tests", "test": "tests/gpu/t.py::test_it", "when": "call"}


@pytest.mark.parametrize(
    ("rows", "what", "measured", "met"),
    [
        ([{**LATENCY, "ms": 1.1}], "AMINet FP16: batch 1, CUDA graph", "1.100 ms, p99 2.000 ms", True),
        ([{**LATENCY, "ms": 1.2}], "AMINet FP16: batch 1, CUDA graph", "1.200 ms", False),
        (
            [{**LATENCY, "ms": 1.1, "graph_failure": "not captured"}],
            "AMINet FP16: batch 1, CUDA graph",
            "captured no graph: not captured",
            False,
        ),
        ([{**RATE, "batch": 32, "faces_per_s": 9e3}], "AMINet FP16: batch 32", "9000 faces/s, 900 MiB", None),
        ([{**RATE, "batch": 64, "faces_per_s": 6e3}], "AMINet FP16: batch 64", "6000 faces/s", True),
        ([{**RATE, "batch": 64, "faces_per_s": 5999.0}], "AMINet FP16: batch 64", "5999 faces/s", False),
        (
            [
                {**RATE, "batch": 64, "faces_per_s": 4e3},
                {**RATE, "bundle": "aminet-fp16@3", "batch": 64, "faces_per_s": 8e3},
                {**COMPILED, "faces_per_s": 4e3},
            ],
            "AMINet FP16 against torch.compile: batch 64",
            "2.00 times",
            True,
        ),
        (
            [{**RATE, "batch": 64, "faces_per_s": 6e3}, {**COMPILED, "faces_per_s": 4e3}],
            "AMINet FP16 against torch.compile: batch 64",
            "1.50 times",
            True,
        ),
        (
            [
                {**RATE, "batch": 64, "faces_per_s": 6e3},
                {**COMPILED, "faces_per_s": 3e3},
                {**COMPILED, "engine": "torch.compile reduce-overhead", "faces_per_s": 5e3},
            ],
            "AMINet FP16 against torch.compile: batch 64",
            "1.20 times",
            False,
        ),
        (
            [
                {**RATE, "batch": 64, "faces_per_s": 6e3},
                {**RATE, "bundle": "aminet-int8-fp16", "batch": 64, "faces_per_s": 7e3},
            ],
            "AMINet INT8+FP16 against FP16: batch 64",
            "1.17 times",
            True,
        ),
        (
            [
                {**PARITY, "batch": 1, "psnr_db": 61.0, "right": True},
                {**PARITY, "batch": 8, "psnr_db": None, "right": True},
            ],
            "AMINet FP16 against eager FP32",
            "61.0 dB at worst, batches 1, 8",
            True,
        ),
        ([{**PARITY, "batch": 1, "psnr_db": 9.0, "right": False}], "AMINet FP16 against eager FP32", "9.0 dB", False),
        (
            [{**IN_ORDER, "differing": 3, "batches": 200, "right": False}],
            "AMINet FP16: in flight with graphs, alone without",
            "3 of 200 batches differ",
            False,
        ),
        ([{**RUN, "efficiency": 0.9}], "fsr-run, AMINet FP16: 2000 png files", "4000 faces/s, efficiency 0.90", True),
        ([{**RUN, "efficiency": 0.89}], "fsr-run, AMINet FP16: 2000 png files", "bottleneck encode", False),
        ([{**TEST, "outcome": "passed"}], "tests on the GPU", "1 passed", True),
        ([{**TEST, "outcome": "failed"}], "tests on the GPU", "1 failed: test_it", False),
        (
            [{**LATENCY, "failed": "a plan of another GPU"}],
            "AMINet FP16: batch 1, CUDA graph",
            "not measured (a plan of another GPU)",
            None,
        ),
        (
            [{**LATENCY, "failed": "out of memory"}, {**LATENCY, "ms": 1.0}],
            "AMINet FP16: batch 1, CUDA graph",
            "1.000 ms",
            True,
        ),
    ],
)
def test_a_figure_stands_beside_its_goal(
    rows: list[dict[str, Any]], what: str, measured: str, met: bool | None, tmp_path: Path
) -> None:
    for row in rows:
        append_row(tmp_path / "rows", row)
    found = {line.what: line for line in lines(Figures(tmp_path / "rows", Journal(tmp_path / "steps")))}
    assert measured in found[what].measured and found[what].met is met


def test_what_was_not_measured_has_the_reason_of_its_step(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "steps")
    journal.note("speed-aminet-fp16", "cut off", "did not end within 60 s")
    journal.note("build-aminet-fp16", "failed", "ended with code 1; its last line: a | b\nc")
    text = table(tmp_path / "rows", journal, steps())
    assert "| AMINet FP16: batch 1, CUDA graph | under 1.2 ms | not measured (did not end within 60 s) |  |" in text
    assert "| not measured (ended with code 1; its last line: a / b c) |" in text, "a cell is a cell"
    assert "- speed-aminet-fp16: cut off, did not end within 60 s" in text
    assert "- facts: not begun" in text


def test_the_table_says_what_it_was_measured_on(tmp_path: Path) -> None:
    gpu = {"gpu": {"name": "NVIDIA H100"}, "driver": "580.1", "tensorrt": "8.6.0"}
    for of in ("build", "speed"):
        append_row(tmp_path / "rows", {"question": "circumstances", "of": of, **gpu})
    append_row(tmp_path / "rows", {"question": "circumstances", "of": "eager", "torch": "2.9"})
    append_row(tmp_path / "rows", {"question": "facts", "fact": "disk", "value": "71 GiB free"})
    assert table(tmp_path / "rows", Journal(tmp_path / "steps"), ()).splitlines()[2:5] == [
        "- disk: 71 GiB free",
        "- measured on NVIDIA H100 with driver 580.1, TensorRT 8.6.0",
        "- beside PyTorch 2.9",
    ]
