"""``fsr-run``: SR faces from frames, with any engine."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from fsr_deploy._util.console import command, finish_on_interrupt, print_json, read_stdin
from fsr_deploy._util.log import progress, say, warn
from fsr_deploy.bundle.info import MIXED
from fsr_deploy.errors import ExitCode, UsageError, refuse_unknown

if TYPE_CHECKING:
    from fsr_deploy.images.resize import Fit
    from fsr_deploy.runtime.folder.jobs import Work
    from fsr_deploy.runtime.folder.run import RunSummary
    from fsr_deploy.runtime.session import EngineInfo

FITS = ("crop", "stretch")
FORMATS = ("same", "png", "jpg", "jpeg", "webp", "bmp", "tif", "tiff")


@command
def main(
    engine: Annotated[str, typer.Argument(metavar="ENGINE", help="A bundle, its engine.plan or its model.onnx.")],
    source: Annotated[
        str,
        typer.Argument(
            metavar="INPUT", help="A folder of frames, one image, or - for a list of paths on standard input."
        ),
    ],
    output: Annotated[
        str | None,
        typer.Option(
            "--output", "-o", metavar="OUT", help="Where the SR faces go; the input's name with _sr unless given."
        ),
    ] = None,
    format_: Annotated[
        str, typer.Option("--format", help=f"File format of the SR faces: {', '.join(FORMATS)}.")
    ] = "same",
    fit: Annotated[
        str,
        typer.Option(help="A frame of other proportions: crop to its middle, as in training, or stretch all of it."),
    ] = "crop",
    batch: Annotated[str, typer.Option(help="Faces per run of the engine: auto or a number.")] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    resume: Annotated[
        bool, typer.Option("--resume/--no-resume", help="Skip the frames that an earlier run finished.")
    ] = True,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace files that no fsr-run wrote, or that were changed since.")
    ] = False,
    on_error: Annotated[
        str, typer.Option(help="At a frame that cannot be read, or whose face cannot be written: skip or stop.")
    ] = "skip",
    trust: Annotated[
        bool, typer.Option("--trust", help="Load a plan that comes without a bundle: it can run code.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print a summary as JSON to standard output.")] = False,
) -> ExitCode:
    """Upscale the faces in a folder of frames, one image or a list of paths.

    \b
    fsr-run bundles/aminet faces/ -o faces_128/
    fsr-run bundles/aminet/model.onnx face.jpg -o face_128.png --device cpu
    find faces/ -name '*.png' | fsr-run bundles/aminet - -o faces_128/ --format jpg --json
    """
    refuse_unknown("--format", format_, FORMATS)
    refuse_unknown("--fit", fit, FITS)
    refuse_unknown("--on-error", on_error, ("skip", "stop"))
    wanted = _parse_batch(batch)

    from fsr_deploy.images.opencv import cv2
    from fsr_deploy.runtime.folder import run as pipeline
    from fsr_deploy.runtime.folder.jobs import find_work
    from fsr_deploy.runtime.folder.path_list import read_list
    from fsr_deploy.runtime.open import open_session

    cv2.setNumThreads(1)  # there is a thread for each frame already
    suffix = None if format_ == "same" else f".{format_}"
    work = find_work(source, output, suffix, read_list(read_stdin()) if source == "-" else ())
    session = open_session(engine, device, trust=trust, throughput=len(work.jobs) > 1)
    faces = pipeline.choose_batch(session.info, wanted, len(work.jobs))
    _introduce(engine, session.info, faces)
    with (
        finish_on_interrupt("interrupted: finishing the batch (press Ctrl-C again to stop at once)") as stop,
        progress("faces", len(work.jobs) + len(work.listing.failed)) as advance,
    ):
        settings = pipeline.RunSettings(faces, resume, overwrite, on_error == "skip", stop, cast("Fit", fit))
        summary = pipeline.run(session, work, settings, advance, say)
    session.close()
    _conclude(summary, work)
    if json:
        print_json(_as_json(session.info, work, summary))
    if stop.is_set():
        return ExitCode.INTERRUPTED
    return ExitCode.PARTIAL if summary.failed else ExitCode.DONE


def _parse_batch(text: str) -> int | None:
    """Return the number of faces, None for "auto"."""
    if text == "auto":
        return None
    if not text.isdecimal() or int(text) == 0:
        raise UsageError(f"--batch {text}: give auto or a number from 1 on")
    return int(text)


def _introduce(engine: str, info: EngineInfo, batch: int) -> None:
    sizes = " -> ".join(f"{width}x{height}" for height, width in (info.lr_shape, info.sr_shape))
    say(f"{engine}: {info.engine}, device {info.device}, precision {info.precision}, {sizes}, batch {batch}")
    if info.device == "cpu" and info.precision in ("fp16", "bf16", MIXED):
        say(f"a CPU computes {info.precision} in fp32 and converts in between; an fp32 engine is faster here")
    for note in info.notes:
        warn(note)
    if info.trained is False:
        warn("THIS ENGINE IS NOT TRAINED: its weights are random and so are its faces; export it with --checkpoint")


def _conclude(summary: RunSummary, work: Work) -> None:
    for line in summary.sizes.lines():
        say(line)
    for line in summary.sizes.warnings():
        warn(line)
    if left_out := work.listing.left_out_line():
        say(left_out)
    for change, count in sorted(summary.changes.items(), key=lambda item: item[0].name):
        say(f"{change.value} in {count} of the frames")
    if summary.stages and work.folder:
        rates = ", ".join(f"{name} {rate:.1f}" for name, rate in summary.stages.stages.items())
        say(
            f"{summary.stages.end_to_end:.1f} faces/s end to end ({rates} faces/s),"
            f" efficiency {summary.stages.efficiency:.2f}, bottleneck {summary.stages.bottleneck}"
        )
    counts = {
        "done": summary.done,
        "done before": summary.already_done,
        "failed": len(summary.failed),
        "left": summary.left,
    }
    told = ", ".join(f"{count} {what}" for what, count in counts.items() if count or what == "done")
    say(f"{work.folder or work.jobs[0].target}: {told} of {summary.total} in {summary.seconds:.1f} s")
    if summary.left:
        say("run the same command again to go on with the frames that are left")


def _as_json(info: EngineInfo, work: Work, summary: RunSummary) -> dict[str, Any]:
    from fsr_deploy.images.colour import Change

    return {
        "engine": {**asdict(info), "batch": summary.batch},
        "output": str(work.folder or work.jobs[0].target),
        "frames": {
            "total": summary.total,
            "done": summary.done,
            "done_before": summary.already_done,
            "failed": len(summary.failed),
            "left": summary.left,
            "resized": {kind.name.lower(): count for kind, count in summary.sizes.resized.items()},
            "cropped": summary.sizes.misshapen if summary.sizes.fit == "crop" else 0,
            "stretched": summary.sizes.misshapen if summary.sizes.fit == "stretch" else 0,
            **{change.name.lower(): summary.changes[change] for change in Change},
        },
        "left_out": dict(work.listing.left_out),
        "failures": [{"frame": str(failed.source), "reason": failed.reason} for failed in summary.failed],
        "warnings": summary.sizes.warnings(),
        "seconds": summary.seconds,
        "rates": asdict(summary.stages) if summary.stages else None,
    }


if __name__ == "__main__":
    main()
