"""The options of fsr-train; those of the recipe are in recipe_options.py."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from fsr_deploy.cli.recipe_options import RecipeArguments


@dataclass(frozen=True)
class TrainArguments:
    """What is trained, on which data and on which device."""

    model: Annotated[str, typer.Argument(help="A registered network, for example aminet.")]
    data: Annotated[str, typer.Option(help="A folder of faces, or faces:COUNT for drawn ones.")]
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the run; made, or continued.")]
    val: Annotated[
        str | None, typer.Option(help="Held-out faces, as --data.", show_default="held back from --data")
    ] = None
    layout: Annotated[
        str, typer.Option(help="auto, celeba, widerface, helen, scface, people (LFW, WebFace) or folder.")
    ] = "auto"
    limit: Annotated[int | None, typer.Option(help="Train on the first so many faces.")] = None
    val_limit: Annotated[int, typer.Option(help="Validate on the first so many faces.")] = 64
    checkpoint: Annotated[Path | None, typer.Option(help="Weights to begin from.")] = None
    key: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The checkpoint's entry to take.", show_default="the average, if any"),
    ] = None
    vgg: Annotated[Path | None, typer.Option(help="VGG19's weights, for the perceptual loss.")] = None
    option: Annotated[
        list[str] | None, typer.Option(help="NAME=VALUE of the network, for example padding=zeros; repeatable.")
    ] = None
    lr_size: Annotated[int, typer.Option(help="Side of the LR faces in pixels, at least 8.")] = 16
    seed: Annotated[int, typer.Option(help="Decides weights, order and augmentation.")] = 0
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto"
    workers: Annotated[int, typer.Option(help="Processes that load faces, for each that trains.")] = 1
    validate_every: Annotated[int, typer.Option(help="Steps.")] = 1000
    save_every: Annotated[int, typer.Option(help="Steps.")] = 200
    log_every: Annotated[int, typer.Option(help="Steps.")] = 20
    as_json: Annotated[bool, typer.Option("--json", help="Print a summary to stdout.")] = False


@dataclass(frozen=True)
class Arguments(RecipeArguments, TrainArguments):
    """What fsr-train takes."""
