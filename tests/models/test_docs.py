"""docs/models.md shows the table as it is and an example that works."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from benchmarks.networks import RESULT, chosen, markdown, written
from fsr_deploy.models import registry
from fsr_deploy.models.complexity import count
from fsr_deploy.models.source import load_source

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


def example(holding: str) -> str:
    """Return the example of the documentation that holds a text."""
    return next(code for code in re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL) if holding in code)


def test_the_example_of_a_file_of_ones_own_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry.names()
    monkeypatch.setattr(registry, "_RECORDS", dict(registry._RECORDS))
    path = tmp_path / "mynet.py"
    path.write_text(example("RECORD ="))
    source = load_source(f"{path}:RECORD")
    assert (source.name, source.scale, source.upsampling) == ("mynet", 4, 1)
    assert source.network(torch.zeros(1, 3, 16, 16)).shape == (1, 3, 64, 64)


def test_the_example_of_a_network_of_ones_own_works(monkeypatch: pytest.MonkeyPatch) -> None:
    registry.names()
    monkeypatch.setattr(registry, "_RECORDS", dict(registry._RECORDS))
    exec(compile(example("class PlainNet"), "plain.py", "exec"), {"__name__": "plain"})

    model, record = registry.build("plain"), registry.find("plain")
    result = count(model)
    assert (result.params / 1e6, result.products / 1e9) == pytest.approx((record.params, record.macs), rel=0.005)
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 3, 32, 32)
