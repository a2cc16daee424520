"""The options of ``fsr-run``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from fsr_deploy.cli.cluster_options import ClusterArguments
from fsr_deploy.cli.film_options import FilmArguments

FORMATS = "same, png, jpg, jpeg, webp, bmp, tif, tiff"


@dataclass(frozen=True)
class Arguments(ClusterArguments, FilmArguments):
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
    device: Annotated[
        str,
        typer.Option(
            help="auto, cpu, cuda, cuda:N, or openvino:NAME (CPU, GPU, NPU); several with commas, or cuda:all."
        ),
    ] = "auto"
    backend: Annotated[
        str | None,
        typer.Option(
            help="Run the graph with onnxruntime, openvino, or openvino-bf16 (BF16 instead of FP32).",
            show_default="the one that the bundle was proven with",
        ),
    ] = None
    boxes: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Where the faces are in whole frames: CSV (file,x,y,w,h) or COCO's JSON."),
    ] = None
    find_faces: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="A detector that finds the faces in whole frames: CenterFace or YuNet, ONNX."
        ),
    ] = None
    save_boxes: Annotated[
        str | None, typer.Option(metavar="FILE", help="Write the faces that were found, for --boxes.")
    ] = None
    upscale: Annotated[
        int | None, typer.Option(help="Whole frames become so many times as wide and high, 1 to 8.", show_default="4")
    ] = None
    faces_only: Annotated[
        bool,
        typer.Option(
            "--faces-only",
            help="Of whole frames, write only the SR faces: NAME_face_0.png, of a film frame_000123_face_0.png.",
        ),
    ] = False
    all_faces: Annotated[
        bool, typer.Option("--all-faces", help="Upscale also faces that are larger in the frame than the SR faces.")
    ] = False
    tile: Annotated[
        str | None,
        typer.Option(
            metavar="N | H,W", help="Enlarge whole pictures, in tiles of N pixels a side, the engine's own size."
        ),
    ] = None
    overlap: Annotated[
        int | None, typer.Option(metavar="M", help="With --tile: pixels that two tiles share.", show_default="N/4")
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
    verify: Annotated[
        str | None,
        typer.Option(metavar="KEY.pub", help="First check the bundle's signature with this public EC key (PEM)."),
    ] = None
    json: Annotated[bool, typer.Option("--json", help="Print a summary as JSON to standard output.")] = False
