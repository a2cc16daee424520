"""What an engine's faces are worth while its precision is still being decided: against eager, and against the truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fsr_deploy.export.parity import Budget, compare
from fsr_deploy.export.reference import as_faces

MAX_LOSS_DB = 0.1


@dataclass(frozen=True)
class Quality:
    """``psnr_db`` against eager in the worst face, infinite where equal; ``loss_db`` is the PSNR lost on the truth.

    ``loss_db`` is the mean over the faces, None where the truth is not known. ``finite`` is False for NaN or Inf.
    """

    psnr_db: float
    loss_db: float | None = None
    finite: bool = True

    def within(self, budget: Budget) -> bool:
        """Whether this is good enough to be published."""
        enough = self.psnr_db >= (budget.min_psnr_db or 0.0)
        return self.finite and enough and (self.loss_db is None or self.loss_db <= MAX_LOSS_DB)

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
        parity = compare(outputs, self.eager)
        loss = None
        if self.truth is not None and parity.finite:
            loss = _psnr(as_faces(self.eager), self.truth) - _psnr(as_faces(outputs), self.truth)
        return Quality(parity.psnr_db if parity.psnr_db is not None else float("inf"), loss, parity.finite)


def _psnr(faces: NDArray[np.uint8], truth: NDArray[np.uint8]) -> float:
    """Return the mean PSNR of faces in dB; equal faces count as 99 dB."""
    errors = np.square(faces.astype(np.float64) - truth).mean(axis=(1, 2, 3))
    return float(np.mean(10 * np.log10(255.0**2 / np.maximum(errors, 255.0**2 / 10**9.9))))
