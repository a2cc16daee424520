"""The options of fsr-train that override a recipe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer


@dataclass(frozen=True)
class RecipeArguments:
    """Values that replace those of the recipe; None keeps the recipe's."""

    recipe: Annotated[
        str | None, typer.Option(help="aminet, amigan or mfspnet.", show_default="the model's paper's")
    ] = None
    steps: Annotated[int | None, typer.Option(help="Updates of the weights.", show_default="the recipe's")] = None
    batch: Annotated[int | None, typer.Option(help="Over all processes.", show_default="the recipe's")] = None
    lr: Annotated[float | None, typer.Option(help="Learning rate.", show_default="the recipe's")] = None
    discriminator_lr: Annotated[float | None, typer.Option(help="Its learning rate.", show_default="the recipe's")] = (
        None
    )
    beta1: Annotated[float | None, typer.Option(help="Of Adam.", show_default="the recipe's")] = None
    beta2: Annotated[float | None, typer.Option(help="Of Adam.", show_default="the recipe's")] = None
    pixel: Annotated[float | None, typer.Option(help="Weight of L1.", show_default="the recipe's")] = None
    perceptual: Annotated[float | None, typer.Option(help="Weight of VGG19's.", show_default="the recipe's")] = None
    adversarial: Annotated[float | None, typer.Option(help="Weight of the GAN's.", show_default="the recipe's")] = None
    schedule: Annotated[str | None, typer.Option(help="constant or cosine.", show_default="the recipe's")] = None
    warmup: Annotated[int | None, typer.Option(help="Steps.", show_default="the recipe's")] = None
    augment: Annotated[
        str | None, typer.Option(help="Of scale, mirror, rotate, with commas; or none.", show_default="the recipe's")
    ] = None
    clip: Annotated[float | None, typer.Option(help="Largest gradient norm, 0: any.", show_default="the recipe's")] = (
        None
    )
    precision: Annotated[str | None, typer.Option(help="fp32, fp16 or bf16.", show_default="the recipe's")] = None
