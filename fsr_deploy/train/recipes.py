"""How the papers train, by name; every value can be overridden."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any

from fsr_deploy.errors import UsageError, refuse_outside, refuse_type

PRECISIONS = {"fp32": "32-true", "fp16": "16-mixed", "bf16": "bf16-mixed"}


@dataclass(frozen=True)
class Recipe:
    """What determines a training besides the network and the data.

    ``batch`` is the global batch over all processes. ``pixel``, ``perceptual`` and ``adversarial`` weigh the terms of
    eq. 22; a term of weight 0 is not computed. ``augment`` names augmentations of TrainingPairs, separated by commas.
    Learning rates rise linearly over ``warmup`` steps, then stay ("constant") or fall to 0 ("cosine"). Gradients are
    scaled to a norm of ``clip`` where they exceed it (0: never).
    """

    steps: int = 200_000
    batch: int = 16
    lr: float = 2e-4
    discriminator_lr: float = 4e-4
    beta1: float = 0.9
    beta2: float = 0.99
    pixel: float = 1.0
    perceptual: float = 0.0
    adversarial: float = 0.0
    schedule: str = "constant"
    warmup: int = 0
    augment: str = "scale,mirror,rotate"
    clip: float = 0.0
    precision: str = "fp32"

    def __post_init__(self) -> None:
        for name, least in (("steps", 1), ("batch", 1), ("warmup", 0)):
            refuse_outside(f"--{name}", getattr(self, name), least)
        for name in ("lr", "discriminator_lr", "beta1", "beta2", "pixel", "perceptual", "adversarial", "clip"):
            refuse_type(f"--{name.replace('_', '-')}", getattr(self, name), Real, "a number")
        floors = ("lr", "discriminator_lr", "pixel", "perceptual", "adversarial", "clip")
        if wrong := [name for name in floors if not 0 <= getattr(self, name) < math.inf]:
            raise UsageError(f"{wrong[0]} {getattr(self, wrong[0])}: give a number that is not below 0")
        if wrong := [name for name in ("beta1", "beta2") if not 0 <= getattr(self, name) < 1]:
            raise UsageError(f"{wrong[0]} {getattr(self, wrong[0])}: Adam's betas are at least 0 and below 1")
        if self.schedule not in ("constant", "cosine"):
            raise UsageError(f"no schedule is called {self.schedule!r}; there are constant and cosine")
        if self.precision not in PRECISIONS:
            raise UsageError(f"training knows no precision {self.precision!r}; there are {', '.join(PRECISIONS)}")
        if self.pixel == self.perceptual == self.adversarial == 0:
            raise UsageError("all three loss weights are 0: nothing would be learnt")

    def lr_factor(self, step: int) -> float:
        """Return the factor of both learning rates at a step, counted from 0."""
        if step < self.warmup:
            return (step + 1) / self.warmup
        if self.schedule == "constant":
            return 1.0
        return 0.5 * (1 + math.cos(math.pi * (step - self.warmup) / max(1, self.steps - self.warmup)))


# Paper A: Adam (0.9, 0.99), 2e-4 for L1 alone; 1e-4, and 4e-4 for the discriminator, with perceptual and adversarial
# terms of 0.01 each. Paper B: batch 16; its printed learning rate of 1e-5 looks like a misprint for 1e-4 to 2e-4. The
# numbers of steps, and paper A's batch, are our choice.
RECIPES = {
    "aminet": Recipe(),
    "amigan": Recipe(lr=1e-4, discriminator_lr=4e-4, perceptual=0.01, adversarial=0.01),
    "mfspnet": Recipe(),
}


def recipe(name: str, **overrides: Any) -> Recipe:
    """Return a recipe by name, with the overrides that are not None; raises UsageError for an unknown name or value."""
    if name not in RECIPES:
        raise UsageError(f"no recipe is called {name!r}; there are {', '.join(RECIPES)}")
    return replace(RECIPES[name], **{key: value for key, value in overrides.items() if value is not None})


def recipe_for(model: str) -> str:
    """Return the name of a registered model's default recipe."""
    if "gan" in model:
        return "amigan"
    return "mfspnet" if model.startswith(("mfspnet", "sparnet")) else "aminet"
