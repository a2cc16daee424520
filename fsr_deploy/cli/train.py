"""fsr-train: train a network on a folder of faces or on drawn ones."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from fsr_deploy._util.console import command, print_json
from fsr_deploy._util.log import say
from fsr_deploy.errors import UsageError


@command
def main(
    model: Annotated[str, typer.Argument(help="A registered network, for example aminet.")],
    data: Annotated[str, typer.Option(help="A folder of faces, or faces:COUNT for drawn ones.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the run; made, or continued.")],
    recipe: Annotated[
        str | None, typer.Option(help="aminet, amigan or mfspnet.", show_default="the model's paper's")
    ] = None,
    val: Annotated[
        str | None, typer.Option(help="Held-out faces, as --data.", show_default="held back from --data")
    ] = None,
    layout: Annotated[
        str, typer.Option(help="auto, celeba, widerface, helen, scface, people (LFW, WebFace) or folder.")
    ] = "auto",
    limit: Annotated[int | None, typer.Option(min=1, help="Train on the first so many faces.")] = None,
    val_limit: Annotated[int, typer.Option(min=1, help="Validate on the first so many faces.")] = 64,
    checkpoint: Annotated[Path | None, typer.Option(help="Weights to begin from.")] = None,
    key: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The checkpoint's entry to take.", show_default="the average, if any"),
    ] = None,
    vgg: Annotated[Path | None, typer.Option(help="VGG19's weights, for the perceptual loss.")] = None,
    option: Annotated[
        list[str] | None, typer.Option(help="NAME=VALUE of the network, for example padding=zeros; repeatable.")
    ] = None,
    lr_size: Annotated[int, typer.Option(min=8, help="Side of the LR faces in pixels.")] = 16,
    seed: Annotated[int, typer.Option(help="Decides weights, order and augmentation.")] = 0,
    steps: Annotated[int | None, typer.Option(help="Updates of the weights.", show_default="the recipe's")] = None,
    batch: Annotated[int | None, typer.Option(help="Over all processes.", show_default="the recipe's")] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate.", show_default="the recipe's")] = None,
    discriminator_lr: Annotated[
        float | None, typer.Option(help="Its learning rate.", show_default="the recipe's")
    ] = None,
    beta1: Annotated[float | None, typer.Option(help="Of Adam.", show_default="the recipe's")] = None,
    beta2: Annotated[float | None, typer.Option(help="Of Adam.", show_default="the recipe's")] = None,
    pixel: Annotated[float | None, typer.Option(help="Weight of L1.", show_default="the recipe's")] = None,
    perceptual: Annotated[float | None, typer.Option(help="Weight of VGG19's.", show_default="the recipe's")] = None,
    adversarial: Annotated[float | None, typer.Option(help="Weight of the GAN's.", show_default="the recipe's")] = None,
    schedule: Annotated[str | None, typer.Option(help="constant or cosine.", show_default="the recipe's")] = None,
    warmup: Annotated[int | None, typer.Option(help="Steps.", show_default="the recipe's")] = None,
    augment: Annotated[
        str | None, typer.Option(help="Of scale, mirror, rotate, with commas; or none.", show_default="the recipe's")
    ] = None,
    clip: Annotated[
        float | None, typer.Option(help="Largest gradient norm, 0: any.", show_default="the recipe's")
    ] = None,
    precision: Annotated[str | None, typer.Option(help="fp32, fp16 or bf16.", show_default="the recipe's")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    workers: Annotated[int, typer.Option(min=0, help="Processes that load faces, for each that trains.")] = 1,
    validate_every: Annotated[int, typer.Option(min=1, help="Steps.")] = 1000,
    save_every: Annotated[int, typer.Option(min=1, help="Steps.")] = 200,
    log_every: Annotated[int, typer.Option(min=1, help="Steps.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print a summary to stdout.")] = False,
) -> None:
    """Train MODEL; the same command again continues a run that was stopped or killed, exactly.

    \b
    fsr-train aminet --data CelebA -o runs/aminet
    fsr-train aminet-tiny --data faces:20000 --steps 2000 --batch 8 --schedule cosine -o runs/tiny
    torchrun --nproc-per-node 4 --no-python fsr-train amigan --data CelebA --vgg vgg19.pth -o runs/amigan
    """
    if key is not None and checkpoint is None:
        raise UsageError("--key names an entry of a checkpoint; give --checkpoint too")
    from fsr_deploy.models import registry
    from fsr_deploy.train import recipes
    from fsr_deploy.train.loop import Cadence, Training, TrainSettings, make_fabric

    chosen = recipes.recipe(
        recipe or recipes.recipe_for(model),
        steps=steps,
        batch=batch,
        lr=lr,
        discriminator_lr=discriminator_lr,
        beta1=beta1,
        beta2=beta2,
        pixel=pixel,
        perceptual=perceptual,
        adversarial=adversarial,
        schedule=schedule,
        warmup=warmup,
        augment=augment,
        clip=clip,
        precision=precision,
    )
    settings = TrainSettings(
        model=model,
        options={**registry.size_options(model, lr_size), **_options(option or [])},
        recipe=chosen,
        data=data,
        val=val or data,
        layout=layout,
        limit=limit,
        val_limit=val_limit,
        lr_size=lr_size,
        seed=seed,
        start=str(checkpoint) if checkpoint else None,
        key=key,
        vgg=str(vgg) if vgg else None,
    )
    fabric = make_fabric(device, chosen.precision)
    cadence = Cadence(validate_every, save_every, log_every, workers)
    result = Training(settings, output, fabric, cadence).run()
    if fabric.is_global_zero:
        best, bicubic = result.best_psnr, result.bicubic.psnr
        say(f"{output}: {result.steps} steps, best PSNR {best:.2f} dB on Y (bicubic {bicubic:.2f} dB)")
        if as_json:
            print_json({"run": str(output), **asdict(result)})


def _options(texts: list[str]) -> dict[str, Any]:
    """Read NAME=VALUE, VALUE as JSON where it is, otherwise as text."""
    options = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not sign:
            raise UsageError(f"--option {text}: write NAME=VALUE, for example padding=zeros")
        try:
            options[name] = json.loads(value)
        except ValueError:
            options[name] = value
    return options


if __name__ == "__main__":
    main()
