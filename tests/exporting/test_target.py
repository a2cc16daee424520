"""What this machine lacks for a target is told before any work."""

from __future__ import annotations

import sys

import pytest

from fsr_deploy.errors import MissingError
from fsr_deploy.exporting.options import ExportOptions
from fsr_deploy.exporting.target import choose_target
from fsr_deploy.runtime import machine


@pytest.fixture(autouse=True)
def on_x86(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.platform, "machine", lambda: "x86_64")


@pytest.mark.parametrize(
    ("precision", "flags", "sentence"),
    [
        ("fp32", "avx2", None),
        ("bf16", "avx2", None),
        ("int8", "avx2", "this CPU has no VNNI, without which OpenVINO's sums of 8-bit products overflow"),
        ("int8", "avx2 avx_vnni", None),
        ("int8+bf16", "avx2 avx_vnni", "--int8 --bf16: this CPU has no instructions for BF16; --int8 alone needs none"),
        ("int8+bf16", "avx512_vnni amx_bf16", None),
    ],
)
def test_a_graph_for_openvino_needs_what_openvino_needs(
    precision: str, flags: str, sentence: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino")
    monkeypatch.setattr(machine, "_text", lambda path: f"flags\t: {flags}\n")
    options = ExportOptions("aminet", precision=precision, target="openvino")
    if sentence is None:
        assert choose_target(options) == ("openvino", False)
    else:
        with pytest.raises(MissingError) as caught:
            choose_target(options)
        assert sentence in str(caught.value)


def test_without_openvino_it_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingError, match=r"pip install 'fsr-deploy\[openvino\]'"):
        choose_target(ExportOptions("aminet", target="openvino"))
