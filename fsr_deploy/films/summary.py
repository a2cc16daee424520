"""What became of a film, as a record, as lines for a person and as plain data."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fsr_deploy._util.log import say, warn
from fsr_deploy.films.bad import BadPart
from fsr_deploy.films.encoder import Video
from fsr_deploy.films.survey import Film
from fsr_deploy.runtime.folder.rates import StageReport
from fsr_deploy.runtime.folder.sizes import SizeCount
from fsr_deploy.runtime.folder.summary import FaceCount, faces_as_dict
from fsr_deploy.runtime.session import EngineInfo


@dataclass
class FilmSummary:
    """The result for a film of ``total`` frames.

    ``done`` frames were made in this run, ``already_done`` in earlier ones. ``failed`` has what is wrong with the film
    and its frames, ``left_out`` a line for each stream that is not copied. ``batch`` is the batch size. ``faces``
    counts those of whole frames, and is None where each frame is a face.
    """

    target: Path
    total: int
    batch: int
    done: int = 0
    already_done: int = 0
    failed: list[BadPart] = field(default_factory=list)
    left_out: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    sizes: SizeCount | None = None
    seconds: float = 0.0
    stages: StageReport | None = None
    stopped: bool = False
    video: Video | None = None
    faces: FaceCount | None = None

    @property
    def lost(self) -> int:
        """Frames that are not in the new film."""
        return 0 if self.left else self.total - self.done - self.already_done

    @property
    def left(self) -> int:
        """Frames that were not begun, or not kept, because the run was stopped."""
        return self.total - self.done - self.already_done if self.stopped else 0


def introduce_film(film: Film, video: Video, summary: FilmSummary) -> None:
    """Say what is read and written, and what will be missing."""
    old, new = ("{}x{}".format(*size) for size in (film.upright, video.size))
    quality = "" if video.crf is None else f", CRF {video.crf:g}"
    say(f"{film.path}: {summary.total} frames, {old} {film.pix_fmt} -> {new} {video.pix_fmt}, {video.codec}{quality}")
    for line in (*summary.warnings, *summary.left_out):
        warn(f"{film.path}: {line}")


def conclude_film(summary: FilmSummary) -> None:
    """Say what became of the film."""
    if summary.faces and summary.done:
        say(summary.faces.line())
    if summary.sizes:
        for line in [] if summary.faces else summary.sizes.lines():
            say(line)
        for line in summary.sizes.warnings():
            warn(line)
    if summary.stages:
        rates = ", ".join(f"{name} {rate:.1f}" for name, rate in summary.stages.stages.items())
        say(
            f"{summary.stages.end_to_end:.1f} frames/s end to end ({rates} frames/s),"
            f" efficiency {summary.stages.efficiency:.2f}, bottleneck {summary.stages.bottleneck}"
        )
    counts = {
        "done": summary.done,
        "done before": summary.already_done,
        "missing": summary.lost,
        "left": summary.left,
    }
    told = ", ".join(f"{count} {what}" for what, count in counts.items() if count or what == "done")
    say(f"{summary.target}: {told} of {summary.total} in {summary.seconds:.1f} s")
    if summary.stopped:
        say("run the same command again to go on; the finished parts of the film are kept")


def film_as_dict(info: EngineInfo, summary: FilmSummary) -> dict[str, Any]:
    """Return what a run did as plain data."""
    video = summary.video
    return {
        "engine": {**asdict(info), "batch": summary.batch},
        "output": str(summary.target),
        "frames": {
            "total": summary.total,
            "done": summary.done,
            "done_before": summary.already_done,
            "missing": summary.lost,
            "left": summary.left,
        },
        "video": None
        if video is None
        else {
            "codec": video.codec,
            "crf": video.crf,
            "pix_fmt": video.pix_fmt,
            "width": video.size[0],
            "height": video.size[1],
            "time_base": str(video.time_base),
        },
        "faces": faces_as_dict(summary.faces),
        "left_out": list(summary.left_out),
        "failures": [
            {"first": part.first, "last": part.last, "seconds": part.seconds, "reason": part.reason}
            for part in summary.failed
        ],
        "warnings": [*summary.warnings, *(summary.sizes.warnings() if summary.sizes else ())],
        "seconds": summary.seconds,
        "rates": asdict(summary.stages) if summary.stages else None,
    }
