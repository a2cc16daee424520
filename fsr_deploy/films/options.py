"""What a user may choose about a film, and its run: each frame is a face, or a whole frame with faces in it."""

from __future__ import annotations

import threading
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from fsr_deploy._util.log import say
from fsr_deploy.errors import UsageError
from fsr_deploy.faces.film import FilmFrames
from fsr_deploy.faces.options import FrameOptions
from fsr_deploy.faces.restorer import FrameRestorer
from fsr_deploy.films.bad import BadPart
from fsr_deploy.films.encoder import DEFAULT_CODEC, Choice
from fsr_deploy.films.faces_only import faces_folder, refuse_faces, write_faces
from fsr_deploy.films.kinds import output_of
from fsr_deploy.films.restore import WholeFaces
from fsr_deploy.films.run import FilmSettings, film_journal, refuse_film, restore_film
from fsr_deploy.films.segments import FilmJournal
from fsr_deploy.films.summary import FilmSummary
from fsr_deploy.films.survey import Film, survey
from fsr_deploy.films.whole_frames import Faces, find_faces, read_faces
from fsr_deploy.runtime.folder.batch_sizes import choose_batch
from fsr_deploy.runtime.folder.journal import Journal
from fsr_deploy.runtime.folder.sizes import SizeCount
from fsr_deploy.runtime.folder.upscale import RunOptions
from fsr_deploy.runtime.session import EngineInfo, Session


@dataclass(frozen=True)
class FilmOptions(RunOptions):
    """What a user may choose about a run over a film; as RunOptions, and the new film's video.

    ``codec`` is FFmpeg's name of an encoder, ``crf`` its quality (smaller is better, None for a good default),
    ``pix_fmt`` the pixel format (None for 4:2:0 with the film's 8 bits, or 10). Raises UsageError for anything else.
    """

    codec: str = DEFAULT_CODEC
    crf: float | None = None
    pix_fmt: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.settings

    def refuse_others(self, faces_only: bool) -> None:
        """Raise UsageError for the ``format`` of pictures where a film is written, and for a video where none is."""
        if not faces_only and self.format != "same":
            raise UsageError(f"--format {self.format}: is for pictures; a film's format is the suffix of -o")
        if faces_only and (self.codec, self.crf, self.pix_fmt) != (DEFAULT_CODEC, None, None):
            raise UsageError("--codec, --crf and --pix-fmt: --faces-only writes no film; leave them out")

    @property
    def settings(self) -> FilmSettings:
        """The same as the settings of a run."""
        choice = Choice(self.codec, self.crf, self.pix_fmt)
        return FilmSettings(choice, self.resume, self.overwrite, self.on_error == "skip")

    def batch_of(self, engine: EngineInfo, film: Film, whole_frames: bool) -> int:
        """Return how many faces to run at a time; raises UsageError for a batch that the engine does not take.

        Each frame is one face, unless they are ``whole_frames``.
        """
        faces = None if whole_frames else len(film.times)
        return choose_batch(engine, None if self.batch == "auto" else int(self.batch), faces)


def find_film(source: str, output: str | None, options: FilmOptions, frames: FrameOptions) -> tuple[Film, Path]:
    """Return a film and where the new one goes, or the folder for its faces.

    Raises InputError for a film that cannot be done, and UsageError for a wrong output and options that do not fit.
    """
    options.refuse_others(frames.faces_only)
    if frames.wanted:
        frames.refuse_fit(options.fit)
    path = Path(source)
    target = faces_folder(path, output) if frames.faces_only else output_of(path, output)
    return survey(path), target


def upscale_film(
    session: Session,
    film: Film,
    target: Path,
    options: FilmOptions,
    frames: FrameOptions,
    stop: threading.Event | None = None,
) -> FilmSummary:
    """Upscale a film until ``stop`` is set; raises what ``restore_film``, ``write_faces``, ``read_faces`` and
    ``find_faces`` raise.

    Its frames are faces, unless ``frames`` says where the faces are in them. ``target`` is the new film, or the folder
    for its faces.
    """
    stop, batch = stop or threading.Event(), options.batch_of(session.info, film, frames.wanted)
    if frames.wanted:
        restorer = FrameRestorer(session, frames.settings, batch=batch)
        if frames.boxes is not None:
            known = read_faces(frames.boxes, film)
        else:
            known = _found(restorer, film, target, options, frames, stop)
        if stop.is_set():
            return FilmSummary(target, len(film.times), batch, stopped=True)
        if frames.faces_only:
            return write_faces(session, film, target, known, options, frames, stop)
        whole = FilmFrames(session, restorer, known)
        summary = restore_film(film, target, whole, options.settings, stop)
        summary.batch = restorer.batches.size
        summary.faces, summary.sizes = whole.count, whole.sizes
        summary.failed += [BadPart(reason, number, number) for number, reason in sorted(whole.failures.items())]
        return summary
    faces = WholeFaces(session, batch, options.fit, say)
    summary = restore_film(film, target, faces, options.settings, stop)
    summary.batch = faces.smallest_batch
    summary.sizes = SizeCount(session.info.lr_shape, options.fit, session.info.resizable)
    width, height = film.upright
    for _ in range(summary.done):
        summary.sizes.add((height, width))
    return summary


def _found(
    restorer: FrameRestorer,
    film: Film,
    target: Path,
    options: FilmOptions,
    frames: FrameOptions,
    stop: threading.Event,
) -> Faces:
    """Find the faces of a film; what would end the run after that is refused before it."""
    detector, saved = frames.detector(restorer.info.device), frames.saved(options.overwrite)
    assert detector is not None
    with closing(Journal(target)) if frames.faces_only else film_journal(target) as journal:
        if isinstance(journal, FilmJournal):
            refuse_film(film, target, restorer.size(*film.upright), options.settings, journal)
        elif not options.overwrite:
            refuse_faces(film, target, options, frames, journal)
        return find_faces(film, detector, saved, journal, stop, options.resume)
