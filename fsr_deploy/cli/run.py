"""``fsr-run``: SR faces from frames, with any engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, cast

import typer

from fsr_deploy._util.console import command, finish_on_interrupt, options_from, print_json, read_stdin
from fsr_deploy.errors import ExitCode

FORMATS = "same, png, jpg, jpeg, webp, bmp, tif, tiff"


@dataclass(frozen=True)
class Arguments:
    """What fsr-run takes."""

    engine: Annotated[str, typer.Argument(metavar="ENGINE", help="A bundle, its engine.plan or its model.onnx.")]
    source: Annotated[
        str,
        typer.Argument(
            metavar="INPUT", help="A folder of frames, one image, or - for a list of paths on standard input."
        ),
    ]
    output: Annotated[
        str | None,
        typer.Option(
            "--output", "-o", metavar="OUT", help="Where the SR faces go; the input's name with _sr unless given."
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
    """Upscale the faces in a folder of frames, one image or a list of paths.

    \b
    fsr-run bundles/aminet faces/ -o faces_128/
    fsr-run bundles/aminet/model.onnx face.jpg -o face_128.png --backend openvino
    find faces/ -name '*.png' | fsr-run bundles/aminet - -o faces_128/ --format jpg --json
    """
    from fsr_deploy.images.resize import Fit
    from fsr_deploy.runtime.backends.openvino import OpenVinoSession
    from fsr_deploy.runtime.folder.path_list import read_list
    from fsr_deploy.runtime.folder.summary import as_dict, conclude, introduce
    from fsr_deploy.runtime.folder.upscale import RunOptions, upscale_files
    from fsr_deploy.runtime.open import open_session, unproven_bundle

    options = RunOptions(
        given.format_, cast("Fit", given.fit), given.batch, given.resume, given.overwrite, given.on_error
    )
    work = options.find(given.source, given.output, read_list(read_stdin()) if given.source == "-" else ())
    if directory := unproven_bundle(given.engine, given.device, given.backend):
        from fsr_deploy.exporting.tensorrt.rebuild import prove_on_first_use

        prove_on_first_use(directory, given.device)
    session = open_session(
        given.engine, given.device, backend=given.backend, trust=given.trust, throughput=len(work.jobs) > 1
    )
    batch = options.batch_for(session.info, work)
    introduce(given.engine, session.info, batch)
    if isinstance(session, OpenVinoSession):
        from fsr_deploy.exporting.proof.first_use import prove_with_openvino

        prove_with_openvino(session, batch)
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
