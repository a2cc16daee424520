"""The generator's objective: the weighted sum of eq. 22, with the discriminator if there is one."""

from __future__ import annotations

from typing import Any

from lightning_fabric import Fabric
from torch import Tensor, cat

from fsr_deploy.train.discriminator import Discriminator
from fsr_deploy.train.learner import Learner
from fsr_deploy.train.losses import PerceptualLoss, adversarial_loss, discriminator_loss, pixel_loss
from fsr_deploy.train.recipes import Recipe
from fsr_deploy.train.vgg import VGG19Features


class Objective:
    """The weighted terms of a recipe; ``vgg`` is needed for the perceptual one."""

    def __init__(self, recipe: Recipe, vgg: VGG19Features | None, fabric: Fabric) -> None:
        self.recipe, self.fabric = recipe, fabric
        self.perceptual = PerceptualLoss(vgg).to(fabric.device) if vgg is not None else None
        self.discriminator = (
            Learner("discriminator", Discriminator(), recipe.discriminator_lr, recipe, fabric)
            if recipe.adversarial
            else None
        )

    def __call__(self, sr: Tensor, hr: Tensor, lr_factor: float) -> tuple[Tensor, dict[str, Tensor]]:
        """Update the discriminator, then return the generator's loss and its terms, for two (N, 3, S, S) in [-1, 1]."""
        terms = {"pixel": pixel_loss(sr, hr)}
        total = self.recipe.pixel * terms["pixel"]
        if self.perceptual is not None:
            with self.fabric.autocast():
                terms["perceptual"] = self.perceptual(sr, hr)
            total = total + self.recipe.perceptual * terms["perceptual"]
        if self.discriminator is not None:
            real, fake = self.discriminator(cat((hr, sr.detach()))).chunk(2)
            terms["discriminator"] = discriminator_loss(real, fake)
            self.discriminator.update(terms["discriminator"], lr_factor)
            terms["adversarial"] = adversarial_loss(self._judge(self.discriminator, sr))
            total = total + self.recipe.adversarial * terms["adversarial"]
        return total, {name: term.detach() for name, term in terms.items()}

    def state(self) -> dict[str, Any]:
        """Return what the next step depends on."""
        return self.discriminator.state() if self.discriminator is not None else {}

    def load(self, state: dict[str, Any]) -> None:
        """Take up a state."""
        if self.discriminator is not None:
            self.discriminator.load(state)

    def _judge(self, discriminator: Learner, sr: Tensor) -> Tensor:
        """Run the discriminator without training it: not through its wrapper, which would wait for its gradients."""
        discriminator.module.requires_grad_(False)
        with self.fabric.autocast():
            logits: Tensor = discriminator.module(sr).float()
        discriminator.module.requires_grad_(True)
        return logits
