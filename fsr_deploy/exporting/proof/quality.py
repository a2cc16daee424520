"""The quality of an engine's faces while its precision is being chosen: against eager, and against the truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fsr_deploy.exporting.proof.parity import Budget, compare


@dataclass(frozen=True)
class Quality:
    """``psnr_db`` against eager in the worst face, infinite where equal; ``loss_db`` is the PSNR lost on the truth.

    ``loss_db`` is the mean over the faces, None where the truth is not known. ``finite`` is False for NaN or Inf.
    ``max_error`` is the largest error in 8-bit levels.
    """

    psnr_db: float
    loss_db: float | None = None
    finite: bool = True
    max_error: float = 0.0

    def within(self, budget: Budget) -> bool:
        """Whether this is good enough to be published."""
        return (
            self.finite
            and (budget.min_psnr_db is None or self.psnr_db >= budget.min_psnr_db)
            and (budget.max_levels is None or self.max_error <= budget.max_levels)
            and (budget.max_loss_db is None or self.loss_db is None or self.loss_db <= budget.max_loss_db)
        )

    @property
    def error(self) -> float:
        """The mean square error in levels of the worst face, which adds up over independent causes."""
        return float(255.0**2 / 10 ** (self.psnr_db / 10)) if self.finite else float("inf")

    def __str__(self) -> str:
        if not self.finite:
            return "NaN or Inf"
        loss = "" if self.loss_db is None else f", {self.loss_db:+.3f} dB lost against the truth"
        return f"{self.psnr_db:.2f} dB against eager{loss}"


@dataclass(frozen=True)
class Judge:
    """Judges engine outputs for the same inputs: ``eager`` are eager's; ``truth`` (N, H, W, 3) uint8 RGB or None."""

    inputs: NDArray[Any]
    eager: NDArray[Any]
    truth: NDArray[np.uint8] | None = None

    def __call__(self, outputs: NDArray[Any]) -> Quality:
        """Return the quality of an engine's outputs."""
        parity = compare(outputs, self.eager, self.truth)
        psnr_db = parity.psnr_db if parity.psnr_db is not None else float("inf")
        return Quality(psnr_db, parity.loss_db, parity.finite, parity.max_error)

    def first(self, count: int) -> Judge:
        """Return a judge of the first faces only."""
        return Judge(self.inputs[:count], self.eager[:count], None if self.truth is None else self.truth[:count])

    def hardest(self, outputs: NDArray[Any], count: int) -> Judge:
        """Return a judge of the faces that these outputs are furthest from eager on, without their truth.

        What is lost against the truth holds in the mean over all faces only.
        """
        with np.errstate(invalid="ignore"):
            errors = np.square(outputs.astype(np.float64) - self.eager).mean(axis=(1, 2, 3))
        worst = np.argsort(-np.nan_to_num(errors, nan=np.inf), kind="stable")[:count]
        return Judge(self.inputs[worst], self.eager[worst])
