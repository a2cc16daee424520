"""Which frames are read and where their SR faces go."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fsr_deploy.errors import InputError, UsageError
from fsr_deploy.images import SUFFIXES
from fsr_deploy.listing import list_frames

VIDEO_SUFFIXES = (".mp4", ".mkv", ".mov", ".avi", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv", ".ts", ".gif")


@dataclass(frozen=True)
class Job:
    """One frame to read and one SR face to write."""

    source: Path
    target: Path


@dataclass(frozen=True)
class Work:
    """All jobs of a run; ``folder`` is where the outputs lie below, None for a single image."""

    jobs: Sequence[Job]
    folder: Path | None


def find_work(source: str, output: str | None, suffix: str | None, listed: Iterable[str] = ()) -> Work:
    """Return the jobs for a folder, an image, or "-" for the ``listed`` paths.

    ``suffix`` is the outputs' (".png"), None for each frame's own. Outputs lie below ``output`` as the frames lie
    below the folder, or below the listed paths' common folder; the default is the folder's name with "_sr". Raises
    UsageError for an output that lies among the frames or that is missing for a list, InputError for a source that
    cannot be read.
    """
    if source == "-":
        return _listed(listed, output, suffix)
    path = Path(source)
    if path.suffix.lower() in VIDEO_SUFFIXES:
        raise InputError(
            f"{path}: videos are not supported yet; extract the frames first (ffmpeg -i {path.name} frames/%06d.png)"
            " and name their folder"
        )
    if path.is_dir():
        return _folder(path, Path(output) if output else _beside(path), suffix)
    if not path.exists():
        raise InputError(f"{path}: no such file or folder")
    return _image(path, output, suffix)


def _folder(folder: Path, output: Path, suffix: str | None) -> Work:
    target = output.resolve()
    if folder.resolve() in (target, *target.parents):
        raise UsageError(f"{output}: lies in the folder of the frames; name another with -o")
    frames = [frame.relative_to(folder) for frame in list_frames(folder).frames]
    return _below(folder, frames, output, suffix)


def _listed(listed: Iterable[str], output: str | None, suffix: str | None) -> Work:
    paths = list(dict.fromkeys(Path(line).absolute() for line in map(str.rstrip, listed) if line))
    if output is None:
        raise UsageError("a list of paths needs an output folder; name it with -o")
    if not paths:
        raise InputError("-: no paths on standard input")
    common = Path(os.path.commonpath([path.parent for path in paths]))
    return _below(common, [path.relative_to(common) for path in paths], Path(output), suffix)


def _image(path: Path, output: str | None, suffix: str | None) -> Work:
    if output is None:
        return Work([Job(path, path.with_name(f"{path.stem}_sr{suffix or _own_suffix(path)}"))], None)
    target = Path(output)
    if target.suffix.lower() not in SUFFIXES or target.is_dir():
        target = target / Path(path.name).with_suffix(suffix or _own_suffix(path))
    elif suffix and target.suffix.lower() != suffix:
        raise UsageError(f"{target}: its suffix is not the --format {suffix[1:]}; leave one of them out")
    if target.exists() and target.samefile(path):
        raise UsageError(f"{target}: is the frame itself; name another output with -o")
    return Work([Job(path, target)], None)


def _below(folder: Path, frames: list[Path], output: Path, suffix: str | None) -> Work:
    names = output_names(frames, suffix)
    jobs = [Job(folder / frame, output / name) for frame, name in zip(frames, names, strict=True)]
    sources = {job.source.resolve() for job in jobs}
    for job in jobs:
        if job.target.resolve() in sources:
            raise UsageError(f"{job.target}: would be overwritten, and it is one of the frames; name another -o")
    return Work(jobs, output)


def _beside(folder: Path) -> Path:
    named = folder if folder.name not in ("", "..") else folder.resolve()
    return named.with_name(f"{named.name}_sr")


def output_names(frames: Sequence[Path], suffix: str | None) -> list[Path]:
    """Return an output name for each frame, no two alike; ``suffix`` is None for the frame's own.

    "a.jpg" becomes "a.png"; where another frame would too, or could be called so, "a.jpg.png".
    """
    short = [frame.with_suffix(suffix or _own_suffix(frame)) for frame in frames]
    long = [frame.with_name(frame.name + (suffix or _own_suffix(frame))) for frame in frames]
    claims = Counter((*short, *long))
    return [a if claims[a] == 1 else b for a, b in zip(short, long, strict=True)]


def _own_suffix(frame: Path) -> str:
    """Return the frame's suffix, or PNG's where it has none that can be written."""
    return frame.suffix if frame.suffix.lower() in SUFFIXES else ".png"
