"""fsr-train: train a network on a folder of faces or on drawn ones."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from typing import Any

from fsr_deploy._util.console import command, options_from, print_json
from fsr_deploy._util.log import say
from fsr_deploy.cli.recipe_options import RecipeArguments
from fsr_deploy.cli.train_options import Arguments
from fsr_deploy.errors import UsageError


@command
@options_from(Arguments)
def main(given: Arguments) -> None:
    """Train MODEL; the same command again continues a run that was stopped or killed, exactly.

    \b
    fsr-train aminet --data CelebA -o runs/aminet
    fsr-train aminet-tiny --data faces:20000 --steps 2000 --batch 8 --schedule cosine -o runs/tiny
    torchrun --nproc-per-node 4 --no-python fsr-train amigan --data CelebA --vgg vgg19.pth -o runs/amigan
    """
    from fsr_deploy.models import own_code, registry
    from fsr_deploy.train import recipes
    from fsr_deploy.train.loop import Cadence, Training, TrainSettings, make_fabric

    model = own_code.resolve(given.model)
    overrides = {field.name: getattr(given, field.name) for field in fields(RecipeArguments) if field.name != "recipe"}
    recipe = recipes.recipe(given.recipe or recipes.recipe_for(model), **overrides)
    settings = TrainSettings(
        model=model,
        options={**registry.size_options(model, given.lr_size), **_options(given.option or [])},
        recipe=recipe,
        data=given.data,
        val=given.val or given.data,
        layout=given.layout,
        limit=given.limit,
        val_limit=given.val_limit,
        lr_size=given.lr_size,
        seed=given.seed,
        start=str(given.checkpoint) if given.checkpoint else None,
        key=given.key,
        vgg=str(given.vgg) if given.vgg else None,
    )
    fabric = make_fabric(given.device, recipe.precision)
    cadence = Cadence(given.validate_every, given.save_every, given.log_every, given.workers)
    result = Training(settings, given.output, fabric, cadence).run()
    if fabric.is_global_zero:
        best, bicubic = result.best_psnr, result.bicubic.psnr
        say(f"{given.output}: {result.steps} steps, best PSNR {best:.2f} dB on Y (bicubic {bicubic:.2f} dB)")
        if given.as_json:
            print_json({"run": str(given.output), **asdict(result)})


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
