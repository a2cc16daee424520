"""What a user may choose about a film, and its run: each frame is a face, or a whole frame with faces in it."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

from fsr_deploy._util.log import say
from fsr_deploy.errors import UsageError
from fsr_deploy.faces.film import FilmFrames
from fsr_deploy.faces.options import FrameOptions
from fsr_deploy.faces.restorer import FrameRestorer
from fsr_deploy.films.bad import BadPart
from fsr_deploy.films.encoder import DEFAULT_CODEC, Choice
from fsr_deploy.films.kinds import output_of
from fsr_deploy.films.restore import WholeFaces
from fsr_deploy.films.run import FilmSettings, restore_film
from fsr_deploy.films.summary import FilmSummary
from fsr_deploy.films.survey import Film, survey
from fsr_deploy.films.whole_frames import known_faces
from fsr_deploy.runtime.folder.batch_sizes import choose_batch
from fsr_deploy.runtime.folder.sizes import SizeCount
from fsr_deploy.runtime.folder.upscale import RunOptions
from fsr_deploy.runtime.session import EngineInfo, Session


@dataclass(frozen=True)
class FilmOptions(RunOptions):
    """What a user may choose about a run over a film; as RunOptions, and the new film's video.

    ``codec`` is FFmpeg's name of an encoder, ``crf`` its quality (smaller is better, None for a good default),
    ``pix_fmt`` the pixel format (None for 4:2:0 with the film's 8 bits, or 10). Raises UsageError for anything else,
    and for a ``format`` of pictures.
    """

    codec: str = DEFAULT_CODEC
    crf: float | None = None
    pix_fmt: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.format != "same":
            raise UsageError(f"--format {self.format}: is for pictures; a film's format is the suffix of -o")
        _ = self.settings

    @property
    def settings(self) -> FilmSettings:
        """The same as the settings of a run."""
        choice = Choice(self.codec, self.crf, self.pix_fmt)
        return FilmSettings(choice, self.resume, self.overwrite, self.on_error == "skip")

    def batch_of(self, engine: EngineInfo, film: Film) -> int:
        """Return how many frames to run at a time; raises UsageError for a batch that the engine does not take."""
        return choose_batch(engine, None if self.batch == "auto" else int(self.batch), len(film.times))


def find_film(source: str, output: str | None) -> tuple[Film, Path]:
    """Return a film and where the new one goes; raises InputError for a film that cannot be done, and UsageError."""
    path = Path(source)
    target = output_of(path, output)
    return survey(path), target


def upscale_film(
    session: Session,
    film: Film,
    target: Path,
    options: FilmOptions,
    stop: threading.Event | None = None,
    frames: FrameOptions | None = None,
) -> FilmSummary:
    """Upscale a film until ``stop`` is set; raises what ``restore_film`` and ``known_faces`` raise.

    Its frames are faces, unless ``frames`` says where the faces are in them.
    """
    stop, batch = stop or threading.Event(), options.batch_of(session.info, film)
    if frames and frames.wanted:
        frames.refuse_fit(options.fit)
        known = known_faces(film, frames, session.info.device, stop, options.overwrite)
        if stop.is_set():
            return FilmSummary(target, len(film.times), batch, stopped=True)
        restorer = FrameRestorer(session, frames.settings, batch=batch)
        whole = FilmFrames(session, restorer, known)
        summary = restore_film(film, target, whole, options.settings, stop)
        summary.batch = restorer.batches.size
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
