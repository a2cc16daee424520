"""Known faults of TensorRT are told for the versions that have them, and for no others."""

from __future__ import annotations

import pytest

from fsr_deploy.bundle.info import PRECISIONS
from fsr_deploy.runtime.tensorrt.faults import FAULTS, faults_of, known_faults

WRONG_FP16, GROUPED_FP16, TRANSPOSED_BF16 = "#4854", "#4838", "#4829"


@pytest.mark.parametrize(
    ("tensorrt", "reports"),
    [
        ("8.6.0", []),
        ("10.16.1.11", []),
        ("11.0.0.114", [TRANSPOSED_BF16]),
        ("11.1", [TRANSPOSED_BF16]),
        ("11.2.1.2", [WRONG_FP16, GROUPED_FP16, TRANSPOSED_BF16]),
        ("11.2.1.post1", [WRONG_FP16, GROUPED_FP16, TRANSPOSED_BF16]),
        ("11.20.0", []),
        ("11.4.0.106", []),
        ("1.7.1.116", []),
        ("unknown", []),
    ],
)
def test_a_version_has_the_faults_that_were_reported_for_it(tensorrt: str, reports: list[str]) -> None:
    found = known_faults(tensorrt)
    assert [sentence.rpartition("#")[2].rstrip(")") for sentence in found] == [report[1:] for report in reports]
    assert all("NVIDIA/TensorRT#" in sentence for sentence in found)


@pytest.mark.parametrize(
    ("precision", "reports"),
    [
        ("fp32", []),
        ("int8", []),
        ("bf16", [TRANSPOSED_BF16]),
        ("fp16", [WRONG_FP16, GROUPED_FP16]),
        ("int8+fp16", [WRONG_FP16, GROUPED_FP16]),
        ("fp8+fp16", [WRONG_FP16, GROUPED_FP16]),
    ],
)
def test_a_build_is_told_what_concerns_its_precision(precision: str, reports: list[str]) -> None:
    found = faults_of("11.2.1.2", precision)
    assert [fault.report for fault in found] == [f"NVIDIA/TensorRT{report}" for report in reports]
    assert [fault.silent for fault in found] == [report == WRONG_FP16 for report in reports]


def test_the_table_names_precisions_that_exist() -> None:
    assert {precision for fault in FAULTS for precision in fault.precisions} <= set(PRECISIONS)
    assert all(fault.first <= fault.last for fault in FAULTS)
