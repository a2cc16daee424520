"""Which inputs are films, and what their outputs may be called."""

from __future__ import annotations

import re
import stat
from pathlib import Path

from fsr_deploy._util.files import is_folder, status
from fsr_deploy.errors import UsageError
from fsr_deploy.images.codec import SUFFIXES as PICTURE_SUFFIXES
from fsr_deploy.images.listing import is_picture
from fsr_deploy.runtime.folder.jobs import VIDEO_SUFFIXES

FILM_SUFFIXES = (*VIDEO_SUFFIXES, ".3gp", ".mts", ".m2ts", ".mxf", ".ogv", ".vob", ".nut", ".h264", ".h265", ".hevc")
# FFmpeg's name of the container for each suffix that a film may be written with.
CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
DEFAULT_SUFFIX = ".mp4"
# How MP4 (unless it is a picture in AVIF or HEIF), Matroska, AVI, FLV and ASF begin.
_FILM = re.compile(
    rb"\0\0\0.ftyp(?!avi|hei|hev|mif|msf)|\x1a\x45\xdf\xa3|RIFF....AVI |FLV\x01|\x30\x26\xb2\x75\x8e\x66\xcf\x11",
    re.DOTALL,
)


def is_film(source: str) -> bool:
    """Tell whether an input is a film: a GIF with more than one frame, or a file that is no picture and has a film's
    suffix or first bytes.
    """
    path = Path(source)
    found = status(path)
    if source == "-" or (found and not stat.S_ISREG(found.st_mode)):  # a pipe would keep us waiting
        return False
    try:
        with path.open("rb") as stream:
            head = stream.read(16)
    except (OSError, ValueError):
        return path.suffix.lower() in FILM_SUFFIXES  # the film's reader says what is wrong
    if head.startswith((b"GIF87a", b"GIF89a")):
        return _frames_of_gif(path) > 1
    if path.suffix.lower() not in FILM_SUFFIXES and not _FILM.match(head):
        return False
    return path.suffix.lower() not in PICTURE_SUFFIXES and not is_picture(path)


def output_of(film: Path, output: str | None) -> Path:
    """Return where a film is written: ``output``, a file or a folder; without it, the film's name with "_sr".

    A suffix that cannot be written becomes .mp4. Raises UsageError for the name of a picture and of another container.
    """
    suffix = film.suffix.lower() if film.suffix.lower() in (".mp4", ".m4v", ".mov", ".mkv") else DEFAULT_SUFFIX
    if output is None:
        return film.with_name(f"{film.stem}_sr{suffix}")
    if output == "-":
        raise UsageError("-o -: nothing is written to standard output; name a film")
    target = Path(output)
    if is_folder(target) or output.endswith("/"):
        return target / f"{film.stem}{suffix}"
    if target.suffix.lower() not in CONTAINERS:
        kinds = ", ".join(CONTAINERS)
        raise UsageError(f"{output}: {film} is a film; name an output that ends in {kinds}, or an existing folder")
    return target


def _frames_of_gif(path: Path) -> int:
    from fsr_deploy.images.pillow import Image

    try:
        with Image.open(path) as picture:
            return int(getattr(picture, "n_frames", 1))
    except Exception:  # Pillow raises many kinds for a broken file
        return 1
