"""fsr-serve: write a proven engine for a server of models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fsr_deploy._util.console import command, print_json, show
from fsr_deploy.errors import refuse_unknown

SERVERS = ("triton",)


@command
def main(
    server: Annotated[str, typer.Argument(metavar="triton", help="The server: triton.")],
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="The directory that fsr-export wrote.")],
    repository: Annotated[Path, typer.Argument(metavar="REPO", help="Triton's model repository; made if not there.")],
    backend: Annotated[
        str, typer.Option(help="What runs it in Triton: python (fsr-deploy itself), onnxruntime, tensorrt.")
    ] = "python",
    name: Annotated[
        str | None, typer.Option(help="The model's name in Triton.", show_default="the bundle's folder")
    ] = None,
    version: Annotated[int, typer.Option(help="The model's version; a new one leaves the others.")] = 1,
    instances: Annotated[int, typer.Option(help="How many Triton runs on each device.")] = 1,
    find_faces: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also write a model of whole frames, with this detector (ONNX)."),
    ] = None,
    upscale: Annotated[int, typer.Option(help="With --find-faces: frames become so many times as large, 1 to 8.")] = 4,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the version if it is there.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print a summary to stdout.")] = False,
) -> None:
    """Write BUNDLE as a model of NVIDIA Triton into REPO.

    \b
    fsr-serve triton aminet-fp16 models/
    fsr-serve triton aminet-fp16 models/ --backend tensorrt --version 2
    fsr-serve triton aminet-fp16 models/ --find-faces centerface.onnx
    """
    refuse_unknown("server", server, SERVERS)
    from fsr_deploy.faces.restorer import RestoreSettings
    from fsr_deploy.serving.triton_frames import check_frames, write_frames
    from fsr_deploy.serving.triton_repository import TritonOptions, write_triton

    options = TritonOptions(backend, name, version, instances, overwrite)
    settings = RestoreSettings(upscale=upscale)
    if find_faces:
        check_frames(bundle, repository / (name or bundle.resolve().name), find_faces, overwrite=overwrite)
    model = write_triton(bundle, repository, options)
    frames = find_faces and write_frames(bundle, model, find_faces, settings, overwrite=overwrite)
    if json:
        about = {"model": str(model), "version": version, "backend": backend}
        print_json({**about, "frames": str(frames) if frames else None})
        return
    written = f"wrote {model}, version {version}" + (f", and {frames} for whole frames" if frames else "")
    show(f"{written}\nserve it: tritonserver --model-repository {repository}")


if __name__ == "__main__":
    main()
