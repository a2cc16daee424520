"""Parity: how close an engine is to the eager FP32 module, and whether that is close enough to be published.

Needs no torch: a plan is proven on the GPU's machine against reference faces that the bundle carries.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fsr_deploy._util.log import warn
from fsr_deploy.bundle.info import INT8_BF16, MIXES
from fsr_deploy.errors import ParityError
from fsr_deploy.metrics.pixel import psnr, ssim

Array = NDArray[Any]
EQUAL_DB = 99.0  # what equal faces count as in a mean
WRONG = 255.0  # levels that a value counts as off where the engine's is NaN or Inf


@dataclass(frozen=True)
class Budget:
    """What an engine may lose: the worst face's PSNR in dB at least, the largest error in 8-bit levels at most.

    ``max_loss_db`` is the PSNR that may be lost against the truth, where that is known.
    """

    min_psnr_db: float | None = None
    max_levels: float | None = None
    max_loss_db: float | None = None


# FP32 differs by the order of sums only, which may turn a rounding: one level. FP16's 50 dB, an RMS error of 0.8
# levels, are 10 dB below what AMINet reaches. BF16 has 3 bits less, AMINet loses 10 dB by that, and so does its budget.
BUDGETS = {
    "fp32": Budget(max_levels=1.0),
    "fp16": Budget(min_psnr_db=50.0),
    "bf16": Budget(min_psnr_db=40.0),
    **dict.fromkeys(("int8", *MIXES, INT8_BF16), Budget(min_psnr_db=40.0, max_loss_db=0.1)),
}


@dataclass(frozen=True)
class Parity:
    """An engine's faces against eager's, in 8-bit levels.

    ``psnr_db`` and ``ssim`` are those of the worst face, so that one bad face is not averaged away; ``psnr_db`` is None
    where all are equal. ``share_off`` is the share of pixels with a channel that is more than one level off.
    ``finite`` is False where the engine gave NaN or Inf. ``loss_db`` is how much lower the engine's PSNR against the
    truth is than eager's, in the mean over the faces; None where the truth is not known.
    """

    max_error: float
    mean_error: float
    psnr_db: float | None
    ssim: float
    share_off: float
    finite: bool
    loss_db: float | None = None


@dataclass(frozen=True)
class Row:
    """One measurement: which engine, at which batch size, and how close it came."""

    engine: str
    batch: int
    parity: Parity

    def __str__(self) -> str:
        p = self.parity
        psnr = "equal" if p.psnr_db is None else f"{p.psnr_db:.2f} dB"
        error = f"at most {p.max_error:.2f} levels off" if p.finite else "NaN or Inf in its output"
        loss = "" if p.loss_db is None else f", {p.loss_db:+.3f} dB lost against the truth"
        return f"batch {self.batch}: {psnr}, SSIM {p.ssim:.5f}, {error}{loss}"

    def as_dict(self) -> dict[str, Any]:
        """Return the row as flat, plain data for ``bundle.json``."""
        return {"engine": self.engine, "batch": self.batch, **asdict(self.parity)}


def budget_for(
    precision: str,
    min_psnr_db: float | None = None,
    max_levels: float | None = None,
    max_loss_db: float | None = None,
) -> Budget:
    """Return the precision's budget with the figures that are given in place of its own."""
    default = BUDGETS[precision]
    return Budget(
        default.min_psnr_db if min_psnr_db is None else min_psnr_db,
        default.max_levels if max_levels is None else max_levels,
        default.max_loss_db if max_loss_db is None else max_loss_db,
    )


def compare(engine: Array, eager: Array, truth: NDArray[np.uint8] | None = None) -> Parity:
    """Compare two batches of SR faces: both (N, H, W, 3) uint8, or both (N, 3, H, W) float in [-1, 1].

    ``truth`` are the same faces as they are, (N, H, W, 3) uint8 RGB. Raises ValueError where shapes or dtypes differ.
    """
    if engine.shape != eager.shape or engine.dtype != eager.dtype:
        raise ValueError(f"{engine.dtype} {engine.shape} cannot be compared with {eager.dtype} {eager.shape}")
    ours, theirs = _levels(engine), _levels(eager)
    finite = np.isfinite(ours)
    ours = np.where(finite, ours, theirs + WRONG)
    error = np.abs(ours - theirs)
    worst = min(psnr(one, other) for one, other in zip(ours, theirs, strict=True))
    return Parity(
        max_error=float(error.max()),
        mean_error=float(error.mean()),
        psnr_db=worst if math.isfinite(worst) else None,
        ssim=min(ssim(one, other) for one, other in zip(ours, theirs, strict=True)),
        share_off=float((error.max(axis=-1) > 1.0).mean()),
        finite=bool(finite.all()),
        loss_db=None if truth is None else _psnr(theirs, truth) - _psnr(ours, truth),
    )


def prove(
    run: Callable[[Array], Array],
    engine: str,
    reference: tuple[Array, Array],
    batches: Iterable[int],
    advance: Callable[[int], None] = lambda count: None,
    truth: NDArray[np.uint8] | None = None,
) -> list[Row]:
    """Run an engine at each batch size and compare it with eager's results.

    ``reference`` is the engine's input and eager's output for some faces, repeated where a batch is larger than their
    number. ``advance`` is told the faces done. ``engine`` names it in the rows. The largest batch, which has most
    faces in it, is compared with the ``truth`` too.
    """
    inputs, outputs = reference
    sizes = sorted(set(batches))
    rows = []
    for batch in sizes:
        index = np.arange(batch) % len(inputs)
        known = truth[index] if truth is not None and batch == sizes[-1] else None
        rows.append(Row(engine, batch, compare(run(inputs[index]), outputs[index], known)))
        advance(batch)
    return rows


def shortfalls(rows: Sequence[Row], budget: Budget) -> list[str]:
    """Return one sentence for each row that is over its budget."""
    return [f"{row.engine}, batch {row.batch}: {fault}" for row in rows if (fault := _fault(row.parity, budget))]


def gate(rows: Sequence[Row], budget: Budget) -> None:
    """Raise ParityError that lists what is over budget; returns where nothing is."""
    if faults := shortfalls(rows, budget):
        raise ParityError("the engine differs from the eager module by more than its budget:\n  " + "\n  ".join(faults))


def forced_notes(rows: Sequence[Row], budget: Budget) -> tuple[str, ...]:
    """Return what a bundle has to say (``BundleInfo.notes``) where it was published over its budget."""
    return tuple(f"over its parity budget, published by force: {fault}" for fault in shortfalls(rows, budget))


def _fault(parity: Parity, budget: Budget) -> str | None:
    if not parity.finite:
        return "NaN or Inf in its output"
    if budget.min_psnr_db is not None and parity.psnr_db is not None and parity.psnr_db < budget.min_psnr_db:
        return f"{parity.psnr_db:.2f} dB, the budget is at least {budget.min_psnr_db:g} dB"
    if budget.max_levels is not None and parity.max_error > budget.max_levels:
        return f"off by up to {parity.max_error:.2f} levels, the budget is at most {budget.max_levels:g}"
    if budget.max_loss_db is not None and parity.loss_db is not None and parity.loss_db > budget.max_loss_db:
        return f"{parity.loss_db:.3f} dB lost against the truth, the budget is at most {budget.max_loss_db:g} dB"
    return None


def _psnr(faces: NDArray[np.float64], truth: NDArray[np.uint8]) -> float:
    """Return the mean PSNR in dB of faces in levels, as the pixels that they become; equal faces count as 99 dB."""
    pixels = np.clip(np.round(faces), 0, 255)
    return float(np.mean([min(psnr(one, other), EQUAL_DB) for one, other in zip(pixels, truth, strict=True)]))


def _levels(batch: Array) -> NDArray[np.float64]:
    """Return SR faces as (N, H, W, 3) in levels; only a float batch can leave [0, 255]."""
    if batch.dtype == np.uint8:
        return batch.astype(np.float64)
    return (np.moveaxis(batch, 1, -1).astype(np.float64) + 1.0) * 127.5


def refuse_unless_forced(error: ParityError, *, forced: bool) -> None:
    """Raise the error, or log it as a warning if the export is forced."""
    if not forced:
        raise error
    warn(str(error))
