"""Which files of a folder are pictures: by suffix or, under any other name, by their first bytes."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from fsr_deploy._util.files import suffix_of
from fsr_deploy.errors import InputError
from fsr_deploy.images.header import HEAD_BYTES, known_formats, recognise

SUFFIXES = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".avif")
# The raw formats of cameras begin like a TIFF file, and their first picture is a thumbnail.
_BY_SUFFIX_ONLY = ("TIFF",)
_SHOWN_SUFFIXES = 8


@dataclass
class Listing:
    """The files below a folder.

    ``frames`` are the pictures, sorted. ``left_out`` counts the other files by suffix in lower case, "" for none;
    hidden files and folders are in neither. ``failed`` are paths that could not be looked at, each with the reason: a
    folder without permission, a link to itself.
    """

    frames: list[Path] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    failed: list[tuple[Path, str]] = field(default_factory=list)

    def left_out_line(self) -> str | None:
        """Return one line that counts what was left out by suffix, None where nothing was."""
        if not self.left_out:
            return None
        # Names are shown only where they are short and safe for a terminal.
        named = {suffix: n for suffix, n in self.left_out.items() if suffix[1:].isalnum() and len(suffix) <= 9}
        top = sorted(named.items(), key=lambda item: (-item[1], item[0]))[:_SHOWN_SUFFIXES]
        parts = [f"{suffix} {n}" for suffix, n in top]
        total = self.left_out.total()
        if rest := total - sum(n for _, n in top):
            parts.append(f"others {rest}")
        return f"left out, no pictures that can be read: {total} files ({', '.join(parts)})"


def list_frames(folder: str | Path) -> Listing:
    """Return the files below a folder, without hidden files and folders. A picture is a file with one of SUFFIXES, or a
    file of another name that begins like a picture; TIFF needs its suffix. Links to folders are followed, each real
    folder once. A part that cannot be read becomes a named failure, and the rest is listed. Raises InputError for a
    folder that is missing, cannot be read, or holds no pictures.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder" if not folder.exists() else f"{folder}: not a folder")
    listing = Listing()
    for entry in _walk(folder, listing):
        if is_picture(entry):
            listing.frames.append(entry)
        else:
            listing.left_out[entry.suffix.lower()] += 1
    if not listing.frames:
        raise InputError(_nothing(folder, listing))
    listing.frames.sort(key=lambda path: path.parts)  # as paths are, which takes longer
    return listing


def is_picture(path: Path) -> bool:
    """Tell whether a file counts as a picture: by its suffix or, with another suffix, by its first bytes."""
    if suffix_of(str(path)).lower() in SUFFIXES:
        return True
    try:
        if not path.is_file():  # a pipe would keep us waiting
            return False
        with path.open("rb") as stream:
            kind = recognise(stream.read(HEAD_BYTES))
    except OSError:
        return False
    return kind is not None and kind not in _BY_SUFFIX_ONLY


def _walk(folder: Path, listing: Listing) -> Iterator[Path]:
    """Yield the files below a folder; what cannot be read is added to the listing's failures."""
    waiting, seen = [folder], set[tuple[int, int]]()
    while waiting:
        current = waiting.pop()
        try:
            status = current.stat()
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(current) as entries:
                found = sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda e: e.name)
        except OSError as error:
            if current == folder:
                raise InputError(f"{folder}: cannot be read: {error.strerror}") from error
            listing.failed.append((current, f"cannot be read: {error.strerror}"))
            continue
        for entry in found:
            path = Path(entry.path)
            try:
                is_folder = entry.is_dir()
            except OSError as error:
                listing.failed.append((path, f"cannot be read: {error.strerror}"))
                continue
            if is_folder:
                waiting.append(path)
            else:
                yield path


def _nothing(folder: Path, listing: Listing) -> str:
    """Return the message for a folder without pictures: what was there instead."""
    reasons = [f"{folder}: no images in it ({known_formats()})"]
    if line := listing.left_out_line():
        reasons.append(line)
    reasons += [f"{path}: {reason}" for path, reason in listing.failed[:1]]
    return "; ".join(reasons)
