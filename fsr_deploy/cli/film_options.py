"""What fsr-run takes for films beside its other options, and the run over a film."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from fsr_deploy._util.console import finish_on_interrupt, print_json
from fsr_deploy.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from fsr_deploy.faces.options import FrameOptions
    from fsr_deploy.films.options import FilmOptions
    from fsr_deploy.runtime.folder.upscale import RunOptions
    from fsr_deploy.runtime.session import EngineInfo, Session


@dataclass(frozen=True, kw_only=True)
class FilmArguments:
    """The video of the new film."""

    codec: Annotated[
        str | None,
        typer.Option(help="Films: an encoder of FFmpeg (libx265, libsvtav1, ffv1 ...).", show_default="libx264"),
    ] = None
    crf: Annotated[
        float | None,
        typer.Option(help="Films: quality, smaller is better.", show_default="16 for libx264"),
    ] = None
    pix_fmt: Annotated[
        str | None,
        typer.Option(
            "--pix-fmt", help="Films: yuv420p, yuv444p10le ...", show_default="yuv420p, or yuv420p10le of 10 bits"
        ),
    ] = None

    def film_options(self, options: RunOptions) -> FilmOptions:
        """Return all options of a run over a film; raises UsageError for those that no film could have."""
        from fsr_deploy.films.encoder import DEFAULT_CODEC
        from fsr_deploy.films.options import FilmOptions

        return FilmOptions(**vars(options), codec=self.codec or DEFAULT_CODEC, crf=self.crf, pix_fmt=self.pix_fmt)

    def refuse_film_options(self, source: str) -> None:
        """Raise UsageError where one of these is given and the input is no film."""
        given = {"--codec": self.codec, "--crf": self.crf, "--pix-fmt": self.pix_fmt}
        for option, value in given.items():
            if value is not None:
                raise UsageError(f"{option} {value}: is for films, and {source} is none")


def run_film(
    source: str,
    output: str | None,
    options: FilmOptions,
    frames: FrameOptions,
    open_engine: Callable[[Callable[[EngineInfo], int]], Session],
    json: bool,
) -> ExitCode:
    """Upscale a film; ``open_engine`` opens the engine for a batch size that depends on it."""
    from fsr_deploy.films.options import find_film, upscale_film
    from fsr_deploy.films.summary import conclude_film, film_as_dict

    film, target = find_film(source, output, options, frames)
    session = open_engine(lambda engine: options.batch_of(engine, film, frames.wanted))
    with finish_on_interrupt("interrupted: finishing the batch (press Ctrl-C again to stop at once)") as stop:
        summary = upscale_film(session, film, target, options, frames, stop)
    session.close()
    conclude_film(summary)
    if json:
        print_json(film_as_dict(session.info, summary))
    if summary.stopped:
        return ExitCode.INTERRUPTED
    return ExitCode.PARTIAL if summary.failed else ExitCode.DONE
