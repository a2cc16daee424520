"""What a visitor reads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fsr_deploy.films.summary import FilmSummary
from fsr_deploy.page import words
from fsr_deploy.page.studio import Shown
from fsr_deploy.runtime.session import EngineInfo
from tests.fakes.plans import describe

ENGINE = EngineInfo("ONNX Runtime 1.30 (CPUExecutionProvider)", "cpu", "fp16", "0" * 64, (16, 16), (128, 128), 4)


def row(psnr: float | None, levels: float, engine: str = "ONNX Runtime 1.32") -> dict[str, Any]:
    return {"engine": engine, "batch": 1, "psnr_db": psnr, "max_error": levels}


@pytest.mark.parametrize(
    ("rows", "passed", "sentence"),
    [
        ([row(61.04, 1.0), row(58.25, 2.0)], True, "58.2 dB on the worst face, at most 2 of 255 levels off; within"),
        ([row(None, 0.0)], True, ": equal, at most 0 of 255 levels off; within its budget."),
        ([row(31.0, 40.0)], False, "40 of 255 levels off; OVER ITS BUDGET, published by force."),
        ([row(61.0, 1.0, "TensorRT 10.16")], True, "Parity: not proven with ONNX Runtime 1.30 (CPU"),
        ([], True, "Parity: not proven with ONNX Runtime 1.30 (CPUExecutionProvider)."),
    ],
)
def test_the_parity_is_that_of_the_engine_that_runs(rows: list[Any], passed: bool, sentence: str) -> None:
    assert sentence in words.parity(replace(describe(), parity=rows, parity_passed=passed), ENGINE)


def test_the_head_names_the_engine_and_warns_of_random_weights() -> None:
    assert "<p>FP16 · 16x16 → 128x128 · ONNX Runtime 1.30" in words.head(describe(), ENGINE)
    assert "Not trained" in words.head(replace(describe(), trained=False), ENGINE)
    assert "Not trained" not in words.head(describe(), ENGINE)


def shown(**changes: Any) -> Shown:
    picture = np.zeros((80, 120, 3), np.uint8)
    return replace(Shown(picture, picture, None, 1, 1, 0.0214, 1.5), **changes)


def test_a_report_has_the_time_of_one_face() -> None:
    said = words.of_picture(shown(upscaled=4, faces=(object(),) * 5, notes=("1 & more",)))
    assert "<dt>Faces</dt><dd>5 found, 4 upscaled</dd>" in said
    assert "<dd>5.35 ms a face, 21.4 ms in all</dd>" in said
    assert "<dd>120x80 pixels in 1.5 s</dd>" in said and "<p>1 &amp; more</p>" in said


def test_without_a_face_there_is_no_time_of_one() -> None:
    said = words.of_picture(shown(upscaled=0, faces=()))
    assert "<dd>0 found, 0 upscaled</dd>" in said and "a face" not in said


def test_a_film_has_the_time_of_one_frame() -> None:
    said = words.of_film(FilmSummary(Path("film.mp4"), 10, 1, done=8, seconds=2.0, warnings=("it is <interlaced>",)))
    assert "<dd>8 of 10" in said and "250 ms a frame, 2 s in all" in said and "it is &lt;interlaced&gt;" in said


def test_a_file_name_is_no_html() -> None:
    assert "<img" not in words.of_problem("<img src=x onerror=alert(1)>.png: empty")
