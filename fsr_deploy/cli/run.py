"""``fsr-run``: SR faces from frames, with any engine."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Annotated, cast

import typer

from fsr_deploy._util.console import command, finish_on_interrupt, options_from, print_json, read_stdin
from fsr_deploy.cli.film_options import FilmArguments, run_film
from fsr_deploy.cli.run_engine import open_engine
from fsr_deploy.errors import ExitCode

FORMATS = "same, png, jpg, jpeg, webp, bmp, tif, tiff"


@dataclass(frozen=True)
class Arguments(FilmArguments):
    """What fsr-run takes."""

    engine: Annotated[str, typer.Argument(metavar="ENGINE", help="A bundle, its engine.plan or its model.onnx.")]
    source: Annotated[
        str,
        typer.Argument(
            metavar="INPUT", help="A folder of frames, one image, a film, or - for a list of paths on standard input."
        ),
    ]
    output: Annotated[
        str | None,
        typer.Option(
            "--output", "-o", metavar="OUT", help="Where the output goes; the input's name with _sr unless given."
        ),
    ] = None
    format_: Annotated[str, typer.Option("--format", help=f"File format of the SR faces: {FORMATS}.")] = "same"
    fit: Annotated[
        str,
        typer.Option(help="A frame of other proportions: crop to its middle, as in training, or stretch all of it."),
    ] = "crop"
    batch: Annotated[str, typer.Option(help="Faces per run of the engine: auto or a number.")] = "auto"
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N, or openvino:NAME (CPU, GPU, NPU).")] = "auto"
    backend: Annotated[
        str | None,
        typer.Option(
            help="Run the graph with onnxruntime, openvino, or openvino-bf16 (BF16 instead of FP32).",
            show_default="the one that the bundle was proven with",
        ),
    ] = None
    resume: Annotated[
        bool, typer.Option("--resume/--no-resume", help="Skip the frames that an earlier run finished.")
    ] = True
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace files that no fsr-run wrote, or that were changed since.")
    ] = False
    on_error: Annotated[
        str, typer.Option(help="At a frame that cannot be read, or whose face cannot be written: skip or stop.")
    ] = "skip"
    trust: Annotated[
        bool, typer.Option("--trust", help="Load a plan that comes without a bundle: it can run code.")
    ] = False
    json: Annotated[bool, typer.Option("--json", help="Print a summary as JSON to standard output.")] = False


@command
@options_from(Arguments)
def main(given: Arguments) -> ExitCode:
    """Upscale the faces in a folder of frames, one image, a film or a list of paths.

    \b
    fsr-run bundles/aminet faces/ -o faces_128/
    fsr-run bundles/aminet face.mp4 -o face_128.mp4 --crf 14
    fsr-run bundles/aminet/model.onnx face.jpg -o face_128.png --backend openvino
    find faces/ -name '*.png' | fsr-run bundles/aminet - -o faces_128/ --format jpg --json
    """
    from fsr_deploy.films.kinds import is_film
    from fsr_deploy.images.resize import Fit
    from fsr_deploy.runtime.folder.path_list import read_list
    from fsr_deploy.runtime.folder.summary import as_dict, conclude
    from fsr_deploy.runtime.folder.upscale import RunOptions, upscale_files

    options = RunOptions(
        given.format_, cast("Fit", given.fit), given.batch, given.resume, given.overwrite, given.on_error
    )
    opened = partial(open_engine, given.engine, given.device, given.backend, given.trust)
    if is_film(given.source):
        return run_film(given.source, given.output, given.film_options(options), opened, given.json)
    given.refuse_film_options(given.source)
    work = options.find(given.source, given.output, read_list(read_stdin()) if given.source == "-" else ())
    session = opened(lambda engine: options.batch_for(engine, work), throughput=len(work.jobs) > 1)
    with finish_on_interrupt("interrupted: finishing the batch (press Ctrl-C again to stop at once)") as stop:
        summary = upscale_files(session, work, options, stop)
    session.close()
    conclude(summary, work)
    if given.json:
        print_json(as_dict(session.info, work, summary))
    if stop.is_set():
        return ExitCode.INTERRUPTED
    return ExitCode.PARTIAL if summary.failed else ExitCode.DONE


if __name__ == "__main__":
    main()
