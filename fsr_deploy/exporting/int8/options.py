"""What a user may choose about INT8."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fsr_deploy._util.console import refuse_unknown
from fsr_deploy.errors import UsageError

CALIBRATORS = ("max", "percentile", "entropy")


@dataclass(frozen=True)
class Int8Options:
    """``calib`` is a folder of faces to calibrate on, None for drawn ones, ``images`` how many of them.

    ``calibrator`` is one of CALIBRATORS. Raises UsageError for another one, and for less than one face.
    """

    calib: Path | None = None
    calibrator: str = "max"
    images: int = 64

    def __post_init__(self) -> None:
        refuse_unknown("--calibrator", self.calibrator, CALIBRATORS)
        if self.images < 1:
            raise UsageError(f"--calib-images {self.images}: ranges are measured on at least one face")
