"""What outputs are called."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from fsr_deploy.images.codec import SUFFIXES

_JPEG_SUFFIXES = (".jfif", ".jpe")


def output_names(frames: Sequence[Path], suffix: str | None) -> list[Path]:
    """Return an output name for each frame, no two alike; ``suffix`` is None for the frame's own.

    "a.jpg" becomes "a.png"; where another frame would too, or could be called so, "a.jpg.png".
    """
    short = [frame.with_suffix(suffix or own_suffix(frame)) for frame in frames]
    long = [frame.with_name(frame.name + (suffix or own_suffix(frame))) for frame in frames]
    claims = Counter((*short, *long))
    folded = Counter(map(_folded, (*short, *long)))

    def choose(short: Path, long: Path) -> Path:
        """Where there is a choice, names that a file system without upper and lower case tells apart too."""
        for name in (short, long):
            if folded[_folded(name)] == 1:
                return name
        return short if claims[short] == 1 else long

    return [choose(*names) for names in zip(short, long, strict=True)]


def _folded(name: Path) -> str:
    """Return what two names share that some file systems take for one."""
    return unicodedata.normalize("NFC", str(name)).casefold()


def own_suffix(frame: Path) -> str:
    """Return the suffix for an output in a frame's own format, PNG's where that cannot be written."""
    if frame.suffix.lower() in _JPEG_SUFFIXES:
        return ".jpg"
    return frame.suffix if frame.suffix.lower() in SUFFIXES else ".png"
