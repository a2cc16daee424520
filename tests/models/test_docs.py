"""docs/models.md shows the table as it is and an example that works."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from benchmarks.networks import RESULT, chosen, markdown, written
from fsr_deploy.models import registry
from fsr_deploy.models.complexity import count

DOCUMENT = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")


def test_the_table_of_the_documentation_is_the_registrys() -> None:
    assert registry.markdown() in DOCUMENT


def test_the_table_of_exports_is_what_was_measured_and_leaves_no_network_out() -> None:
    rows = written(RESULT)
    assert markdown(rows) in DOCUMENT
    assert {(row["model"], row["precision"]) for row in rows} == {
        (name, precision) for name in chosen(["*"]) for precision in ("fp32", "fp16")
    }
    assert all(row["exit_code"] == 0 and row["batch_is_symbolic"] for row in rows)


def test_the_example_of_a_network_of_ones_own_works(monkeypatch: pytest.MonkeyPatch) -> None:
    registry.names()
    monkeypatch.setattr(registry, "_RECORDS", dict(registry._RECORDS))
    example = re.search(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)
    assert example is not None
    exec(compile(example[1], "plain.py", "exec"), {"__name__": "plain"})

    model, record = registry.build("plain"), registry.find("plain")
    result = count(model)
    assert (result.params / 1e6, result.products / 1e9) == pytest.approx((record.params, record.macs), rel=0.005)
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 3, 32, 32)
