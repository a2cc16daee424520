"""Which frames are read and where their SR faces go."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from fsr_deploy._util.files import is_folder, is_link, name_below, one_slash, status
from fsr_deploy.errors import InputError, UsageError
from fsr_deploy.images.codec import SUFFIXES
from fsr_deploy.images.listing import Listing, list_frames
from fsr_deploy.runtime.folder.names import output_names, own_suffix

VIDEO_SUFFIXES = (".mp4", ".mkv", ".mov", ".avi", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv", ".ts")
# Formats that cannot be written. They are never taken for the name of a folder.
_OTHER_PICTURES = re.compile(
    r"\.(jfif|jpe|jp2|j2[ck]|jp[fmx]|jxl|jxr|avif|hei[cf]|gif|[am]png|tga|ico|p[abgnp]m|pcx|qoi|sgi|exr|hdr|psd|xcf|svg"
    r"|eps|pdf|dng|cr[23]|nef|arw)"
)


@dataclass(frozen=True)
class Job:
    """One frame to read and one SR face to write."""

    source: Path
    target: Path


@dataclass(frozen=True)
class Work:
    """All jobs of a run. ``folder`` is the folder of the outputs, None for a single image; ``listing`` has the files
    that are not jobs.
    """

    jobs: Sequence[Job]
    folder: Path | None
    listing: Listing = field(default_factory=Listing)


def find_work(source: str, output: str | None, suffix: str | None, listed: Iterable[str] = ()) -> Work:
    """Return the jobs for a folder, an image, or "-" for the ``listed`` paths.

    ``suffix`` is that of the outputs (".png"), None for each frame's own. Outputs keep the frames' sub-folders,
    relative to the folder or to the common folder of the listed paths; the default ``output`` is the folder's name with
    "_sr". Raises UsageError for an output that is among the frames, missing for a list, or not writable, InputError for
    a source that cannot be read and for links that lead out of ``output``.
    """
    output = output and one_slash(output)
    if source == "-":
        return _listed(map(one_slash, listed), output, suffix)
    path = Path(one_slash(source))
    if is_folder(path):
        return _folder(path, as_folder(output) if output else _beside(path), suffix)
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{path}: no such file or folder") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    return _image(path, output, suffix)


def _folder(folder: Path, output: Path, suffix: str | None) -> Work:
    frames, target = _real(folder), _real(output)
    if frames in (target, *target.parents):
        raise UsageError(f"{output}: is inside the folder of the frames; name another with -o")
    listing = list_frames(folder)
    places = [name_below(frame, folder) for frame in listing.frames]
    return Work(_below(output, listing.frames, places, suffix), output, listing)


def _listed(listed: Iterable[str], output: str | None, suffix: str | None) -> Work:
    paths = list(dict.fromkeys(_without_dots(line) for line in listed))
    if output is None:
        raise UsageError("a list of paths needs an output folder; name it with -o")
    folder = as_folder(output)
    listing = Listing(
        frames=[path for path in paths if path.name],
        failed=[(path, "not a file") for path in paths if not path.name],
    )
    if not listing.frames:
        raise InputError("-: no paths on standard input")
    try:
        common = Path(os.path.commonpath([path.parent for path in listing.frames]))
    except ValueError:
        raise InputError("-: the paths are on several drives; run fsr-run once for each drive") from None
    places = [name_below(path, common) for path in listing.frames]
    return Work(_below(folder, listing.frames, places, suffix), folder, listing)


def _without_dots(path: str) -> Path:
    """Return the absolute path of the same file without ".."; ".." after a link leaves the folder it leads to."""
    absolute = Path(path).absolute()
    if ".." not in absolute.parts:
        return absolute
    kept = Path(absolute.anchor)
    for part in absolute.parts[1:]:
        if part == "..":
            kept = (_real(kept) if is_link(kept) else kept).parent
        else:
            kept /= part
    return kept


def _image(path: Path, output: str | None, suffix: str | None) -> Work:
    own = suffix or own_suffix(path.suffix)
    if output is None:
        return Work([Job(path, path.with_name(f"{path.stem}_sr{own}"))], None)
    target = Path(output)
    if target.suffix.lower() not in SUFFIXES or is_folder(target):
        target = as_folder(output) / Path(path.name).with_suffix(own)
    elif suffix and target.suffix.lower() != suffix:
        raise UsageError(f"{target}: its suffix is not the --format {suffix[1:]}; leave one of them out")
    if _real(target) == _real(path):
        raise UsageError(f"{target}: is the frame itself; name another output with -o")
    return Work([Job(path, target)], None)


def as_folder(output: str) -> Path:
    """Return the output as an existing or new folder; raises UsageError for a name that looks like a file."""
    path = Path(output)
    suffix = path.suffix.lower()
    if output == "-":
        raise UsageError("-o -: nothing is written to standard output; name a folder or an image file")
    if is_folder(path):
        return path
    if _OTHER_PICTURES.fullmatch(suffix) or suffix in VIDEO_SUFFIXES:
        raise UsageError(f"{path}: {suffix} is no format that can be written; use one of {', '.join(SUFFIXES)}")
    if suffix in SUFFIXES:
        raise UsageError(f"{path}: the name of one image; the outputs need a folder, name one with -o")
    if status(path):
        raise InputError(f"{path}: a file; name a folder with -o")
    return path


def _below(output: Path, sources: Sequence[Path], places: Sequence[str], suffix: str | None) -> list[Job]:
    """Return a job for each source, with its output at the same relative place below the folder."""
    names = output_names(places, suffix)
    jobs = [Job(source, output / name) for source, name in zip(sources, names, strict=True)]
    real_folder = cache(lambda folder: _real(Path(folder)))

    def real_file(path: Path) -> str:
        folder, name = os.path.split(path)
        return str(_real(path)) if is_link(path) else f"{real_folder(folder)}{os.sep}{name}"

    wall = _real(output)
    for folder in [output / above for above in dict.fromkeys(name.rpartition(os.sep)[0] for name in names)]:
        if not (real := real_folder(folder)).is_relative_to(wall):
            raise InputError(f"{folder}: leads out of {output}, to {real}; remove that link or name another -o")
    if not status(wall):
        return jobs  # a new folder, with no frame in it
    taken = {real_file(job.source) for job in jobs}
    for job in jobs:
        if real_file(job.target) in taken:
            raise UsageError(f"{job.target}: would be overwritten, and it is one of the frames; name another -o")
    return jobs


def _beside(folder: Path) -> Path:
    named = folder if folder.name not in ("", "..") else _real(folder)
    if not named.name:
        raise UsageError(f"{folder}: no folder can be made beside it; name an output folder with -o")
    return named.with_name(f"{named.name}_sr")


def _real(path: Path) -> Path:
    """Return the path without links; unlike Path.resolve, a link to itself is not an error."""
    return Path(os.path.realpath(path))
