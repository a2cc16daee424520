"""What outputs are called."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence

from fsr_deploy._util.files import suffix_of
from fsr_deploy.images.codec import SUFFIXES

_JPEG_SUFFIXES = (".jfif", ".jpe")


def output_names(frames: Sequence[str], suffix: str | None) -> list[str]:
    """Return a distinct output name for each frame; ``suffix`` is None for the frame's own. "a.jpg" becomes "a.png", or
    "a.jpg.png" where another frame would also become "a.png".
    """
    suffixes = [suffix_of(frame) for frame in frames]
    new = [suffix or own_suffix(old) for old in suffixes]
    short = [frame.removesuffix(old) + own for frame, old, own in zip(frames, suffixes, new, strict=True)]
    long = [frame + own for frame, own in zip(frames, new, strict=True)]
    claims = Counter((*short, *long))
    folded = Counter(map(_folded, (*short, *long)))

    def choose(short: str, long: str) -> str:
        """Where possible, names differ on file systems that ignore case, too."""
        for name in (short, long):
            if folded[_folded(name)] == 1:
                return name
        return short if claims[short] == 1 else long

    return [choose(*names) for names in zip(short, long, strict=True)]


def _folded(name: str) -> str:
    """Return a key that is equal for names that some file systems treat as the same."""
    return name.lower() if name.isascii() else unicodedata.normalize("NFC", name).casefold()


def own_suffix(suffix: str) -> str:
    """Return the suffix for an output in the format of a frame's own, ".png" where that cannot be written."""
    if suffix.lower() in _JPEG_SUFFIXES:
        return ".jpg"
    return suffix if suffix.lower() in SUFFIXES else ".png"
