"""fsr-train: train a network on a folder of faces or on drawn ones."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from fsr_deploy._util.console import command, print_json
from fsr_deploy._util.log import say
from fsr_deploy.cli import recipe_options as recipe_option
from fsr_deploy.cli import train_options as option
from fsr_deploy.errors import UsageError


@command
def main(
    model: option.Model,
    data: option.Data,
    output: option.Output,
    recipe: recipe_option.Recipe = None,
    val: option.Val = None,
    layout: option.Layout = "auto",
    limit: option.Limit = None,
    val_limit: option.ValLimit = 64,
    checkpoint: option.Checkpoint = None,
    key: option.Key = None,
    vgg: option.Vgg = None,
    option: option.Option = None,
    lr_size: option.LrSize = 16,
    seed: option.Seed = 0,
    steps: recipe_option.Steps = None,
    batch: recipe_option.Batch = None,
    lr: recipe_option.Lr = None,
    discriminator_lr: recipe_option.DiscriminatorLr = None,
    beta1: recipe_option.Beta1 = None,
    beta2: recipe_option.Beta2 = None,
    pixel: recipe_option.Pixel = None,
    perceptual: recipe_option.Perceptual = None,
    adversarial: recipe_option.Adversarial = None,
    schedule: recipe_option.Schedule = None,
    warmup: recipe_option.Warmup = None,
    augment: recipe_option.Augment = None,
    clip: recipe_option.Clip = None,
    precision: recipe_option.Precision = None,
    device: option.Device = "auto",
    workers: option.Workers = 1,
    validate_every: option.ValidateEvery = 1000,
    save_every: option.SaveEvery = 200,
    log_every: option.LogEvery = 20,
    as_json: option.AsJson = False,
) -> None:
    """Train MODEL; the same command again continues a run that was stopped or killed, exactly.

    \b
    fsr-train aminet --data CelebA -o runs/aminet
    fsr-train aminet-tiny --data faces:20000 --steps 2000 --batch 8 --schedule cosine -o runs/tiny
    torchrun --nproc-per-node 4 --no-python fsr-train amigan --data CelebA --vgg vgg19.pth -o runs/amigan
    """
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
