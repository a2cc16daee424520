"""The SR faces of a film alone, as pictures: its frames go through the same run as those of a folder."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fsr_deploy._util.log import say, warn
from fsr_deploy.errors import InputError, UsageError
from fsr_deploy.faces.folder import FrameTask, LoadFrame
from fsr_deploy.faces.options import FrameOptions
from fsr_deploy.faces.restorer import FrameSteps
from fsr_deploy.films.bad import BadPart, BadParts
from fsr_deploy.films.frames import LOST, Decoded, Frames, upright
from fsr_deploy.films.kinds import FILM_SUFFIXES
from fsr_deploy.films.prefetch import prefetched
from fsr_deploy.films.run import on_fault
from fsr_deploy.films.segments import codec_version, hash_of
from fsr_deploy.films.summary import FilmSummary
from fsr_deploy.films.survey import Film
from fsr_deploy.films.whole_frames import Faces
from fsr_deploy.images.codec import SUFFIXES as PICTURE_SUFFIXES
from fsr_deploy.runtime.folder.jobs import Job, Work, as_folder
from fsr_deploy.runtime.folder.journal import Journal
from fsr_deploy.runtime.folder.outputs import look_at, refuse_to_replace
from fsr_deploy.runtime.folder.steps import AlreadyDone, Failed, Loaded
from fsr_deploy.runtime.folder.upscale import RunOptions, upscale_files
from fsr_deploy.runtime.session import EngineInfo, Session

# Increase it when the same film and faces give other pictures than before.
RECIPE = "faces of films 1"
AHEAD = 2  # frames that are decoded before they are asked for


@dataclass(frozen=True)
class FilmJob(Job):
    """A frame of a film; ``source`` is no file but names it in messages."""

    number: int


class InTurn:
    """A film's frames, for threads that ask for one each, all of them once and about in order."""

    def __init__(self, frames: Iterator[Decoded]) -> None:
        self._frames = frames
        self._waiting: dict[int, Decoded] = {}
        self._next = 0
        self._one_at_a_time = threading.Lock()

    def take(self, number: int) -> Decoded | None:
        """Return the frame of a number, None where it is lost. Those before it wait for the threads that want them."""
        with self._one_at_a_time:
            while self._next <= number and (decoded := next(self._frames, None)):
                self._waiting[decoded.number] = decoded
                self._next = decoded.number + 1
            return self._waiting.pop(number, None)


@dataclass(frozen=True)
class FilmFaces(FrameTask):
    """The frames of a film, of which only the faces are wanted."""

    film: Film = field(kw_only=True)
    frames: InTurn = field(kw_only=True)

    @property
    def recipe(self) -> str:
        """The settings, and what decodes the film."""
        return "\n".join((super().recipe, RECIPE, codec_version()))

    def reader(
        self, engine: EngineInfo, journal: Journal | None, made_with: str, batches: Sequence[int]
    ) -> LoadFilmFrame:
        """Return the step that takes a frame and cuts its faces out."""
        steps = FrameSteps(engine, self.settings)
        made = f"{made_with}\n{engine.template}"
        return LoadFilmFrame(engine, journal, made, batches, task=self, steps=steps, film=self.film, frames=self.frames)


@dataclass(frozen=True)
class LoadFilmFrame(LoadFrame):
    """Job -> its frame with its faces. Frames are decoded also where they are done: what is wrong with the film is told
    in every run.
    """

    film: Film = field(kw_only=True)
    frames: InTurn = field(kw_only=True)

    def __call__(self, job: Job) -> Loaded | AlreadyDone | Failed:
        """Take a frame; returns Failed for one that is lost, which ``Frames`` has told."""
        assert isinstance(job, FilmJob)
        decoded = self.frames.take(job.number)
        if decoded is None:
            return Failed(job.source, f"{job.source}: {LOST}", told=True)
        digest = hash_of(self.film.sha256, job.number)
        if self.is_done(job, digest):
            return AlreadyDone(job)
        try:
            return self.cut_out(job, digest, upright(self.film, decoded))
        except InputError as error:
            return Failed(job.source, str(error))


def faces_folder(film: Path, output: str | None) -> Path:
    """Return the folder for a film's faces: ``output``; without it, the film's name with "_faces".

    Raises UsageError for the name of a film or picture, InputError for a file.
    """
    if output is None:
        return as_folder(str(film.with_name(f"{film.stem}_faces")))
    suffix = Path(output).suffix.lower()
    if suffix in (*FILM_SUFFIXES, *PICTURE_SUFFIXES) and not Path(output).is_dir():
        raise UsageError(f"{output}: --faces-only writes many pictures; name a folder with -o")
    return as_folder(output)


def write_faces(
    session: Session,
    film: Film,
    folder: Path,
    known: Faces,
    options: RunOptions,
    frames: FrameOptions,
    stop: threading.Event,
) -> FilmSummary:
    """Write the SR faces of a film's frames into a folder until ``stop`` is set, or what is missing of them.

    ``known`` has the faces by the frame's number. Raises what ``upscale_files`` raises, and InputError for the first
    thing that is wrong with the film where the options say so.
    """
    jobs = _jobs(film, folder, options)
    width, height = film.upright
    suffix = jobs[0].target.suffix[1:]
    say(f"{film.path}: {len(jobs)} frames, {width}x{height} {film.pix_fmt} -> SR faces in {suffix}")
    for line in film.warnings:
        warn(f"{film.path}: {line}")
    bad = BadParts(on_fault(film, options.on_error == "skip"))
    for fault in film.broken:
        bad.add_film(fault)
    with prefetched(Frames(film, bad), AHEAD) as decoded:
        faces = {jobs[number].source: found for number, found in known.items()}
        task = FilmFaces(frames.settings, faces, film=film, frames=InTurn(decoded))
        done = upscale_files(session, Work(jobs, folder), options, stop, task)
    numbers = {job.source: job.number for job in jobs}
    failed = [_bad_part(film, failed, numbers[failed.source]) for failed in done.failed if not failed.told]
    return FilmSummary(
        folder,
        done.total,
        done.batch,
        done=done.done,
        already_done=done.already_done,
        failed=[*bad.parts, *failed],
        warnings=film.warnings,
        sizes=done.sizes,
        seconds=done.seconds,
        stages=done.stages,
        stopped=stop.is_set(),
        faces=done.faces,
    )


def refuse_faces(film: Film, folder: Path, options: RunOptions, frames: FrameOptions, journal: Journal) -> None:
    """Raise InputError where ``write_faces`` would replace files that no run wrote; ``journal`` is the folder's."""
    work = Work(_jobs(film, folder, options), folder)
    refuse_to_replace(look_at(FrameTask(frames.settings).targets(work), journal), work)


def _jobs(film: Film, folder: Path, options: RunOptions) -> list[FilmJob]:
    suffix = ".png" if options.format == "same" else f".{options.format}"
    return [
        FilmJob(Path(f"{film.path}: frame {number}"), folder / f"frame_{number:06}{suffix}", number)
        for number in range(len(film.times))
    ]


def _bad_part(film: Film, failed: Failed, number: int) -> BadPart:
    return BadPart(failed.reason.removeprefix(f"{failed.source}: "), number, number, film.seconds(number))
