"""Parity: the measures are right, and what is over its budget is said."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from numpy.typing import NDArray
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from fsr_deploy.errors import ParityError
from fsr_deploy.exporting.proof.parity import BUDGETS, Budget, budget_for, compare, gate, prove, shortfalls, ssim
from fsr_deploy.synthetic import faces

FACES = np.stack(list(faces(4, seed=5, size=64)))


def noisy(batch: NDArray[np.uint8], sigma: float) -> NDArray[np.uint8]:
    noise = np.random.default_rng(0).normal(0, sigma, batch.shape)
    return np.clip(np.round(batch + noise), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("sigma", [0.3, 2, 20, 200])
def test_ssim_is_scikit_images(sigma: float) -> None:
    for one, other in zip(FACES, noisy(FACES, sigma), strict=True):
        theirs = structural_similarity(
            one, other, channel_axis=-1, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
        assert ssim(one, other) == pytest.approx(theirs, abs=1e-3)


def test_equal_batches_have_no_error_and_no_finite_psnr() -> None:
    parity = compare(FACES, FACES)
    assert (parity.max_error, parity.mean_error, parity.psnr_db, parity.share_off) == (0, 0, None, 0)
    assert parity.ssim == pytest.approx(1) and parity.finite


def test_one_bad_face_is_not_averaged_away() -> None:
    engine = FACES.copy()
    engine[2] = noisy(FACES[2], 30)
    parity = compare(engine, FACES)
    assert parity.psnr_db == pytest.approx(peak_signal_noise_ratio(FACES[2], engine[2], data_range=255))
    assert parity.ssim == pytest.approx(ssim(engine[2], FACES[2]))


def test_the_share_counts_pixels_that_are_more_than_one_level_off() -> None:
    truth = np.full((1, 20, 20, 3), 100, np.uint8)
    engine = truth.copy()
    engine[0, 0] += 1
    engine[0, 1, :, 0] += 2
    engine[0, 1, :, 1] += 3
    parity = compare(engine, truth)
    assert parity.share_off == pytest.approx(20 / 400)
    assert parity.max_error == 3
    assert parity.mean_error == pytest.approx((60 + 40 + 60) / 1200)


def test_float_faces_are_measured_in_levels_beyond_the_range_too() -> None:
    truth = np.zeros((1, 3, 16, 16), np.float32)
    assert compare(truth + np.float32(2 / 255), truth).max_error == pytest.approx(1, abs=1e-4)
    assert compare(truth + np.float32(4), truth).max_error == pytest.approx(510)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_no_number_is_told_and_spoils_the_figures(bad: float) -> None:
    truth = np.zeros((2, 3, 16, 16), np.float32)
    engine = truth.copy()
    engine[1, 0, 3, 3] = bad
    parity = compare(engine, truth)
    assert not parity.finite and parity.max_error == 255 and np.isfinite(parity.ssim)
    rows = prove(lambda batch: engine, "engine", (truth, truth), [2])
    assert shortfalls(rows, Budget()) == ["engine, batch 2: NaN or Inf in its output"]


def test_what_is_lost_against_the_truth_is_the_mean_over_the_faces_of_the_largest_batch() -> None:
    eager, engine = noisy(FACES, 4), noisy(FACES, 5)
    rows = prove(lambda batch: engine[: len(batch)], "engine", (eager, eager), [1, 4], truth=FACES)
    psnrs = [
        [peak_signal_noise_ratio(a, b, data_range=255) for a, b in zip(FACES, x, strict=True)] for x in (eager, engine)
    ]
    assert rows[0].parity.loss_db is None
    assert rows[1].parity.loss_db == pytest.approx(np.mean(psnrs[0]) - np.mean(psnrs[1]))
    as_floats = [(np.moveaxis(faces, -1, 1) / 127.5 - 1).astype(np.float32) for faces in (engine, eager)]
    assert compare(*as_floats, FACES).loss_db == pytest.approx(rows[1].parity.loss_db)
    assert f"{rows[1].parity.loss_db:+.3f} dB lost against the truth" in str(rows[1])


@pytest.mark.parametrize(("budget", "passes"), [(0.1, False), (3.0, True), (None, True)])
def test_an_int8_engine_may_lose_a_tenth_of_a_decibel_against_the_truth(budget: float | None, passes: bool) -> None:
    eager, engine = noisy(FACES, 4), noisy(FACES, 5)
    rows = prove(lambda batch: engine, "engine", (eager, eager), [4], truth=FACES)
    loss = rows[0].parity.loss_db
    assert BUDGETS["int8"].max_loss_db == 0.1
    if passes:
        gate(rows, Budget(max_loss_db=budget))
        return
    with pytest.raises(
        ParityError, match=f"engine, batch 4: {loss:.3f} dB lost against the truth, the budget is at most"
    ):
        gate(rows, Budget(max_loss_db=budget))


def test_nobody_is_held_to_a_truth_that_is_not_known() -> None:
    rows = prove(lambda batch: noisy(batch, 1), "engine", (FACES, FACES), [4])
    assert rows[0].as_dict()["loss_db"] is None
    gate(rows, budget_for("int8"))


def test_batches_of_another_shape_or_type_are_not_compared() -> None:
    with pytest.raises(ValueError, match="cannot be compared"):
        compare(FACES, FACES[:2])
    with pytest.raises(ValueError, match="cannot be compared"):
        compare(FACES, FACES.astype(np.float32))


def test_each_batch_size_is_run_once_with_the_faces_in_order() -> None:
    seen = []

    def run(batch: NDArray[np.uint8]) -> NDArray[np.uint8]:
        seen.append(len(batch))
        return batch

    rows = prove(run, "engine", (FACES, FACES), (1, 6, 6))
    assert seen == [row.batch for row in rows] == [1, 6]
    assert all(row.parity.psnr_db is None for row in rows)


@pytest.mark.parametrize(
    ("precision", "good", "bad"), [("fp32", 1, 2), ("fp16", 0.7, 1.0), ("bf16", 2.2, 3.0), ("int8", 2.2, 3.0)]
)
def test_the_budget_of_each_precision(precision: str, good: float, bad: float) -> None:
    truth = np.full((1, 32, 32, 3), 100, np.uint8)

    def rows(error: float) -> list:
        if precision == "fp32":
            return prove(lambda batch: batch + np.uint8(error), "engine", (truth, truth), [1])
        return prove(lambda batch: noisy(batch, error), "engine", (truth, truth), [1])

    gate(rows(good), budget_for(precision))
    with pytest.raises(ParityError, match="engine, batch 1: "):
        gate(rows(bad), budget_for(precision))


def test_every_row_over_budget_is_listed_with_figures() -> None:
    rows = prove(lambda batch: batch + np.uint8(3), "plan", (FACES // 2, FACES // 2), (1, 2))
    with pytest.raises(ParityError) as error:
        gate(rows, Budget(max_levels=2))
    assert str(error.value) == (
        "the engine differs from the eager module by more than its budget:\n"
        "  plan, batch 1: off by up to 3.00 levels, the budget is at most 2\n"
        "  plan, batch 2: off by up to 3.00 levels, the budget is at most 2"
    )


def test_given_figures_take_the_place_of_the_precisions_own() -> None:
    assert budget_for("fp16", min_psnr_db=55) == Budget(min_psnr_db=55)
    assert budget_for("fp16", max_levels=4) == Budget(min_psnr_db=50, max_levels=4)
    assert budget_for("fp32", max_levels=0) == Budget(max_levels=0)
    assert budget_for("int8", max_loss_db=0.5) == Budget(min_psnr_db=40, max_loss_db=0.5)


def test_parity_needs_neither_torch_nor_onnx() -> None:
    script = (
        "import sys, fsr_deploy.exporting.proof.parity;"
        " sys.exit(bool({'torch', 'onnx', 'onnxruntime'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
