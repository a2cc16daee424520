"""Tensors and weights too small for a normal float count as zero: engines can divide by all of their scales."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from fsr_deploy.exporting.graph.sessions import run_graph
from fsr_deploy.exporting.int8.calibration import BINS, Histogram
from fsr_deploy.exporting.int8.qdq import insert
from fsr_deploy.exporting.int8.ranges import CALIBRATORS
from fsr_deploy.exporting.int8.sites import find_sites
from fsr_deploy.exporting.int8.weights import weight_scales
from tests.exporting.int8.test_quantise import Chain, exported, planned

TINY = float(np.finfo(np.float32).tiny)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.mark.parametrize("largest", [1e-45, 1e-42, TINY, 1e-30, 1.0, 1e30])
def test_a_histogram_counts_values_of_any_size(largest: float) -> None:
    histogram = Histogram()
    values = np.linspace(0, largest, 4097, dtype=np.float32)
    histogram.add(values)
    histogram.add(values / 2)
    assert histogram.largest == np.float32(largest)
    assert histogram.counts.sum() == 2 * values.size and (histogram.counts >= 0).all()
    assert histogram.counts[BINS // 2 + 1 :].sum() <= values.size
    assert all(0 < calibrator(histogram) <= histogram.largest for calibrator in CALIBRATORS.values())


def test_values_after_denormal_ones_are_counted_too() -> None:
    histogram = Histogram()
    for largest in (1e-44, 1e-40, 3.0):
        histogram.add(np.full(100, largest, np.float32))
    assert histogram.largest == 3.0 and histogram.counts.sum() == 300


@pytest.mark.parametrize("largest", [0.0, 1e-45, 1e-40, TINY])
def test_a_channel_of_weights_that_small_has_the_scale_of_zeros(largest: float) -> None:
    weights = np.ones((2, 1, 1, 1), np.float32)
    weights[1] = largest
    assert weight_scales(weights).tolist() == [pytest.approx(1 / 127), 1.0]


@pytest.mark.parametrize("results", [True, False])
@pytest.mark.parametrize("measured", [0.0, 1e-45, 1e-40, TINY])
def test_every_scale_is_a_normal_float_whatever_was_measured(tmp_path: Path, measured: float, results: bool) -> None:
    model, reasons = exported(Chain(), tmp_path)
    sites, _ = find_sites(model, reasons)
    ranges = {name: measured for site in sites for name in (site.source, site.result)}
    written = insert(model, sites, ranges, results=results)
    scales = {t.name: onnx.numpy_helper.to_array(t) for t in written.graph.initializer if "/scale" in t.name}
    assert len(scales) > len(sites)
    assert all((scale >= TINY).all() for scale in scales.values())


@pytest.mark.parametrize("factor", [1e-38, 1e-41])
def test_a_network_with_a_silent_part_is_the_same_in_int8(tmp_path: Path, factor: float) -> None:
    network = Chain()
    with torch.no_grad():
        network.body[0].weight *= factor
        network.body[0].bias *= factor
    plan, judge = planned(network, tmp_path)
    assert judge(run_graph(plan.write(plan.blocks), judge.inputs)).psnr_db > 35
