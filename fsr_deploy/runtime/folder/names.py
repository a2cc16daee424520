"""What outputs are called."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from fsr_deploy.images.codec import SUFFIXES

_JPEG_SUFFIXES = (".jfif", ".jpe")


def output_names(frames: Sequence[Path], suffix: str | None) -> list[Path]:
    """Return a distinct output name for each frame; ``suffix`` is None for the frame's own. "a.jpg" becomes "a.png", or
    "a.jpg.png" where another frame would also become "a.png".
    """
    short = [frame.with_suffix(suffix or own_suffix(frame)) for frame in frames]
    long = [frame.with_name(frame.name + (suffix or own_suffix(frame))) for frame in frames]
    claims = Counter((*short, *long))
    folded = Counter(map(_folded, (*short, *long)))

    def choose(short: Path, long: Path) -> Path:
        """Where possible, names differ on file systems that ignore case, too."""
        for name in (short, long):
            if folded[_folded(name)] == 1:
                return name
        return short if claims[short] == 1 else long

    return [choose(*names) for names in zip(short, long, strict=True)]


def _folded(name: Path) -> str:
    """Return a key that is equal for names that some file systems treat as the same."""
    return unicodedata.normalize("NFC", str(name)).casefold()


def own_suffix(frame: Path) -> str:
    """Return the suffix for an output in the frame's own format, ".png" where that cannot be written."""
    if frame.suffix.lower() in _JPEG_SUFFIXES:
        return ".jpg"
    return frame.suffix if frame.suffix.lower() in SUFFIXES else ".png"
