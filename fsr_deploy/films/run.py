"""A film through a restorer into a new film: what ``fsr-run`` does with films."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from fsr_deploy._util.files import CannotWrite, file_sha256, one_slash, replaced_file, status
from fsr_deploy._util.log import progress, say
from fsr_deploy.errors import InputError, UsageError
from fsr_deploy.films import segments
from fsr_deploy.films.bad import BadParts
from fsr_deploy.films.encoder import Choice, Video, choose
from fsr_deploy.films.mux import Copying, plan_copy, rounded_times, write_film
from fsr_deploy.films.pipeline import Encode, run_pipeline, stages_for
from fsr_deploy.films.report import Report, read_report, write_report
from fsr_deploy.films.restore import Restorer
from fsr_deploy.films.segments import FilmJournal, codec_version, count_packets, folder_of, hash_of, segment_path
from fsr_deploy.films.summary import FilmSummary, introduce_film
from fsr_deploy.films.survey import Film
from fsr_deploy.images.opencv import cv2
from fsr_deploy.runtime.folder.rates import report

# Increase it when the same film and engine give other packets than before.
RECIPE = "2"


@dataclass(frozen=True)
class FilmSettings:
    """How to run; as RunSettings of folders. ``choice`` is what the user chose for the video."""

    choice: Choice
    resume: bool = True
    overwrite: bool = False
    skip_failures: bool = True


@dataclass(frozen=True)
class _Job:
    """A film, its new film, and the keys that they are recorded with."""

    film: Film
    target: Path
    video: Video
    copying: Copying

    def segment_key(self, restorer: Restorer) -> str:
        """Return the hash of what segments depend on."""
        made = (restorer.made_with, restorer.batch, asdict(self.video), segments.LENGTH, codec_version(), RECIPE)
        return hash_of(self.film.sha256, *made)

    def film_key(self, restorer: Restorer) -> str:
        """Return the hash of what the new film depends on."""
        return hash_of(self.segment_key(restorer), self.target.suffix, self.copying)

    @property
    def indices(self) -> range:
        """Return the numbers of all segments."""
        return range(-(-len(self.film.times) // segments.LENGTH))


def restore_film(
    film: Film, target: Path, restorer: Restorer, settings: FilmSettings, stop: threading.Event | None = None
) -> FilmSummary:
    """Make the new film of ``film``, or what is missing of it; stops when ``stop`` is set.

    Raises UsageError for a codec, pixel format or container that does not fit, and InputError for a target that would
    replace somebody's file, a folder or disk that cannot be written, and without ``skip_failures`` for the first thing
    that is wrong with the film: the first two before anything is written.
    """
    job = _plan(film, target, restorer.size(*film.upright), settings.choice)
    summary = FilmSummary(target, len(film.times), restorer.batch, left_out=job.copying.left_out, video=job.video)
    summary.warnings = (*film.warnings, *rounded_times(film, target))
    introduce_film(film, job.video, summary)
    start = time.perf_counter()
    with film_journal(target) as journal, _one_thread_each():
        foreign = _refuse_to_replace(target, journal, settings.overwrite)
        if settings.resume and not foreign and journal.has(target, [job.film_key(restorer)]):
            finished = read_report(folder_of(target), summary.total)
            summary.already_done, summary.failed = finished.frames, finished.failed
        else:
            _make(job, restorer, settings, stop or threading.Event(), journal, summary)
        if not summary.stopped:
            _remove_segments(target)
    summary.seconds = time.perf_counter() - start
    return summary


def refuse_film(film: Film, target: Path, size: tuple[int, int], settings: FilmSettings, journal: FilmJournal) -> None:
    """Raise what ``restore_film`` raises before anything is written, for a run that has long work before it.

    ``size`` is the new frames' (width, height).
    """
    _plan(film, target, size, settings.choice)
    _refuse_to_replace(target, journal, settings.overwrite)


def _plan(film: Film, target: Path, size: tuple[int, int], choice: Choice) -> _Job:
    if os.path.realpath(one_slash(str(target))) == os.path.realpath(one_slash(str(film.path))):
        raise UsageError(f"{target}: is the film itself; name another output with -o")
    facts = {"aspect": film.aspect, "time_base": film.time_base, "rate": film.rate}
    video = choose(choice, size, film.bits, film.colours, **facts)
    return _Job(film, target, video, plan_copy(film, video, target))


def _refuse_to_replace(target: Path, journal: FilmJournal, overwrite: bool) -> bool:
    """Return whether somebody else's file is in the new film's place; raises InputError where it is to stay."""
    foreign = journal.is_foreign(target)
    if foreign and not overwrite:
        raise InputError(f"{target}: already exists; name another output with -o, or add --overwrite")
    return foreign


def _make(
    job: _Job,
    restorer: Restorer,
    settings: FilmSettings,
    stop: threading.Event,
    journal: FilmJournal,
    summary: FilmSummary,
) -> None:
    film, target = job.film, job.target
    taken = status(target, follow=False) is not None
    key = job.segment_key(restorer)
    done = {index for index in job.indices if settings.resume and _is_done(segment_path(target, index), key, journal)}
    summary.already_done = sum(count_packets(segment_path(target, index)) for index in done)
    bad = BadParts(on_fault(film, settings.skip_failures))
    for fault in film.broken:
        bad.add_film(fault)
    encode = Encode(film, job.video, target, journal, key)
    stages = stages_for(restorer)
    start = time.perf_counter()
    with progress("frames", summary.total) as advance:
        advance(summary.already_done)
        summary.done = run_pipeline(film, job.video, restorer, encode, done, bad, stop, advance, stages)
    summary.stages = report([stages.decode, stages.engine, stages.encode], summary.done, time.perf_counter() - start)
    if stop.is_set():
        kept = sum(count_packets(segment_path(target, index)) for index in encode.written)
        summary.done, summary.stopped, summary.failed = kept, True, bad.parts
        return
    paths = [segment_path(target, index) for index in sorted(done | encode.written)]
    if not paths:
        raise InputError(f"{film.path}: none of its {summary.total} frames can be decoded: {bad.parts[-1].reason}")
    with replaced_file(target) as temporary:
        for fault in write_film(film, job.video, job.copying, paths, target, temporary):
            bad.add_film(fault)
        write_report(folder_of(target), Report(summary.done + summary.already_done, bad.parts))
        if not taken and status(target, follow=False):
            raise CannotWrite(f"{target}: was made by something else during this run and is not replaced", None)
        journal.add_hashed(target, job.film_key(restorer), file_sha256(temporary))
    summary.failed = bad.parts


def _is_done(path: Path, key: str, journal: FilmJournal) -> bool:
    return status(path) is not None and not journal.is_foreign(path) and journal.has(path, [key])


def on_fault(film: Film, skip_failures: bool) -> Callable[[str], None]:
    """Return what happens at a fault: a line, or the end of the run."""

    def stop_at(fault: str) -> None:
        raise InputError(f"{film.path}: {fault} (leave out --on-error stop to go past such frames)")

    return (lambda fault: say(f"{film.path}: {fault}")) if skip_failures else stop_at


@contextmanager
def film_journal(target: Path) -> Iterator[FilmJournal]:
    """Own the folder of a film's segments; it is removed at the end where nothing was put into it."""
    folder = folder_of(target)
    journal = FilmJournal(folder)
    try:
        yield journal
    finally:
        journal.close()
        with suppress(OSError):
            folder.rmdir()


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Have OpenCV use one thread: there is one for each frame already."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)


def _remove_segments(target: Path) -> None:
    for path in folder_of(target).glob("segment_*"):
        with suppress(OSError):
            path.unlink()
