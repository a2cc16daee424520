"""What a machine is offered depends on what it can run, and it is told what it cannot."""

from __future__ import annotations

import sys

import pytest

from fsr_deploy.choosing import candidates
from fsr_deploy.choosing.candidates import find_candidates
from fsr_deploy.runtime import machine

CPU = ["fp32, ONNX Runtime", "int8, ONNX Runtime"]
NO_BF16 = "no bf16 in OpenVINO: this CPU has no instructions for BF16"
NO_INT8 = "no int8 in OpenVINO: this CPU has no VNNI, without which its sums of 8-bit products overflow"
NEITHER = "no int8+bf16 in OpenVINO: this CPU lacks what one of the two needs"


@pytest.mark.parametrize(
    ("flags", "more", "missing"),
    [
        ("avx2", [], [NO_BF16, NO_INT8, NEITHER]),
        ("avx2 avx_vnni", ["int8"], [NO_BF16, NEITHER]),
        ("avx2 avx512_vnni avx512_bf16 amx_int8 amx_bf16", ["bf16", "int8", "int8+bf16"], []),
    ],
)
def test_a_cpu_gets_what_it_computes(
    flags: str, more: list[str], missing: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino")
    monkeypatch.setattr(machine.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(machine, "_text", lambda path: f"flags\t: {flags}\n")
    found, left_out = find_candidates()
    assert [one.title for one in found] == [*CPU, *(f"{name}, OpenVINO" for name in ("fp32", *more))]
    assert left_out == missing


def test_without_openvino_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    found, (sentence,) = find_candidates()
    assert [one.title for one in found] == CPU
    assert sentence.startswith("none in OpenVINO: ") and "pip install 'fsr-deploy[openvino]'" in sentence


def test_a_gpu_gets_plans(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidates, "why_no_plan", lambda device: "")
    found, left_out = find_candidates()
    titles = ["fp16, TensorRT", "bf16, TensorRT", "int8, TensorRT", "int8+fp16, TensorRT"]
    assert ([one.title for one in found], left_out) == (titles, [])
