"""The options of fsr-train, but for those of a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Model = Annotated[str, typer.Argument(help="A registered network, for example aminet.")]
Data = Annotated[str, typer.Option(help="A folder of faces, or faces:COUNT for drawn ones.")]
Output = Annotated[Path, typer.Option("-o", "--output", help="Folder of the run; made, or continued.")]
Val = Annotated[str | None, typer.Option(help="Held-out faces, as --data.", show_default="held back from --data")]
Layout = Annotated[str, typer.Option(help="auto, celeba, widerface, helen, scface, people (LFW, WebFace) or folder.")]
Limit = Annotated[int | None, typer.Option(help="Train on the first so many faces.")]
ValLimit = Annotated[int, typer.Option(help="Validate on the first so many faces.")]
Checkpoint = Annotated[Path | None, typer.Option(help="Weights to begin from.")]
Key = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="The checkpoint's entry to take.", show_default="the average, if any"),
]
Vgg = Annotated[Path | None, typer.Option(help="VGG19's weights, for the perceptual loss.")]
Option = Annotated[
    list[str] | None, typer.Option(help="NAME=VALUE of the network, for example padding=zeros; repeatable.")
]
LrSize = Annotated[int, typer.Option(help="Side of the LR faces in pixels, at least 8.")]
Seed = Annotated[int, typer.Option(help="Decides weights, order and augmentation.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Workers = Annotated[int, typer.Option(help="Processes that load faces, for each that trains.")]
ValidateEvery = Annotated[int, typer.Option(help="Steps.")]
SaveEvery = Annotated[int, typer.Option(help="Steps.")]
LogEvery = Annotated[int, typer.Option(help="Steps.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print a summary to stdout.")]
