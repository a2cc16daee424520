"""The options of fsr-train that override a recipe."""

from __future__ import annotations

from typing import Annotated

import typer

Recipe = Annotated[str | None, typer.Option(help="aminet, amigan or mfspnet.", show_default="the model's paper's")]
Steps = Annotated[int | None, typer.Option(help="Updates of the weights.", show_default="the recipe's")]
Batch = Annotated[int | None, typer.Option(help="Over all processes.", show_default="the recipe's")]
Lr = Annotated[float | None, typer.Option(help="Learning rate.", show_default="the recipe's")]
DiscriminatorLr = Annotated[float | None, typer.Option(help="Its learning rate.", show_default="the recipe's")]
Beta1 = Annotated[float | None, typer.Option(help="Of Adam.", show_default="the recipe's")]
Beta2 = Annotated[float | None, typer.Option(help="Of Adam.", show_default="the recipe's")]
Pixel = Annotated[float | None, typer.Option(help="Weight of L1.", show_default="the recipe's")]
Perceptual = Annotated[float | None, typer.Option(help="Weight of VGG19's.", show_default="the recipe's")]
Adversarial = Annotated[float | None, typer.Option(help="Weight of the GAN's.", show_default="the recipe's")]
Schedule = Annotated[str | None, typer.Option(help="constant or cosine.", show_default="the recipe's")]
Warmup = Annotated[int | None, typer.Option(help="Steps.", show_default="the recipe's")]
Augment = Annotated[
    str | None, typer.Option(help="Of scale, mirror, rotate, with commas; or none.", show_default="the recipe's")
]
Clip = Annotated[float | None, typer.Option(help="Largest gradient norm, 0: any.", show_default="the recipe's")]
Precision = Annotated[str | None, typer.Option(help="fp32, fp16 or bf16.", show_default="the recipe's")]
