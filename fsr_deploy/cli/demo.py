"""``fsr-demo``: a page in the browser that shows what an engine does."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fsr_deploy._util.console import command, finish_on_interrupt
from fsr_deploy.errors import UsageError


@command
def main(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="The directory that fsr-export wrote.")],
    find_faces: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="A detector that finds the faces in pictures: CenterFace or YuNet, ONNX."),
    ] = None,
    upscale: Annotated[
        int | None,
        typer.Option(help="With --find-faces: pictures become so many times as wide, 1 to 8.", show_default="4"),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N, or openvino:NAME (CPU, GPU, NPU).")] = "auto",
    backend: Annotated[
        str | None,
        typer.Option(
            help="Run the graph with onnxruntime, openvino, or openvino-bf16.",
            show_default="the one that the bundle was proven with",
        ),
    ] = None,
    host: Annotated[str, typer.Option(help="The address of the page; by default only this machine reaches it.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(help="The port of the page; 0 for any that is free.")] = 7860,
) -> None:
    """Show BUNDLE in the browser: drop in a picture or a film, compare before and after.

    \b
    fsr-demo aminet-fp16
    fsr-demo aminet-fp16 --find-faces centerface.onnx
    """
    from fsr_deploy.bundle.info import read_bundle
    from fsr_deploy.exporting.proof.open_proven import open_proven
    from fsr_deploy.faces.options import FrameOptions
    from fsr_deploy.page.server import free_port, gradio_at_home, serve
    from fsr_deploy.page.studio import Studio

    read_bundle(bundle)
    if upscale is not None and find_faces is None:
        raise UsageError(f"--upscale {upscale}: is for faces in whole pictures; add --find-faces")
    frames = FrameOptions(find_faces=find_faces, upscale=upscale)
    port = free_port(host, port)
    with gradio_at_home() as home, finish_on_interrupt("closing the page") as stop:
        session = open_proven(str(bundle), device, backend, False, lambda engine: 1, throughput=False)
        # Read again: the first run of a plan on a GPU proves it.
        serve(Studio(session, read_bundle(bundle).info, frames, device), home, host, port, stop)
        session.close()


if __name__ == "__main__":
    main()
