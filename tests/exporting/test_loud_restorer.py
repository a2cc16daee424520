"""A restorer that FP16 turns into one colour: plain halves do it, the export does not (examples/loud_restorer.py)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import fsr_deploy as fsr
from examples import loud_restorer
from fsr_deploy.models import own_code, registry
from fsr_deploy.synthetic import faces


def test_halves_give_one_colour_and_the_export_the_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry.names()
    monkeypatch.setattr(registry, "_RECORDS", dict(registry._RECORDS))
    monkeypatch.setattr(own_code, "_loaded", {})
    monkeypatch.setattr(loud_restorer, "SIZE", 32)
    face = next(iter(faces(1, 7, 32)))
    flat = loud_restorer.picture_in_halves(loud_restorer.build(), face)
    assert flat.min() == flat.max(), "every value is lost"
    options = {"precision": "fp16", "lr_size": 32, "batches": (1, 1, 2)}
    bundle = fsr.export(f"{loud_restorer.__file__}:RECORD", output=tmp_path / "loud", **options)
    assert bundle.info.parity_passed and bundle.info.precision_map["tail"]["precision"] == "fp32"
    assert bundle.info.precision_map["loud.modulation"]["precision"] == "fp16"
    with fsr.load(bundle, "cpu") as upscaler:
        ours = upscaler(face)
    assert ours.std() > 20 and np.abs(ours.astype(int) - face).mean() < 20
