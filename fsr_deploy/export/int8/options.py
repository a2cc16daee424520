"""What a user may choose about INT8."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Int8Options:
    """``calib`` is a folder of faces to calibrate on, None for drawn ones, ``images`` how many of them.

    ``calibrator`` is "max", "percentile" or "entropy".
    """

    calib: Path | None = None
    calibrator: str = "max"
    images: int = 64
