"""One update of a network: a mixed-precision scaler may find its gradients too large, and tries a smaller scale."""

from __future__ import annotations

import pytest
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision
from torch import Tensor, nn

from fsr_deploy.train.learner import DivergedError, Learner
from fsr_deploy.train.recipes import recipe

LR, CLIP = 0.1, 1.0


class Product(nn.Module):
    """The product of its input and one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight


def learner(clip: float, scaler: torch.amp.GradScaler | None) -> Learner:
    """Return a learner on a CPU with the scaler that FP16 has on a GPU."""
    plugins = [MixedPrecision("16-mixed", "cpu", scaler)] if scaler else []
    fabric = Fabric(accelerator="cpu", devices=1, plugins=plugins)
    return Learner("network", Product(), LR, recipe("aminet", clip=clip, lr=LR), fabric)


@pytest.mark.parametrize("clip", [0.0, CLIP])
def test_gradients_too_large_for_their_scale_cost_a_step_and_no_more(clip: float) -> None:
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**126)
    one = learner(clip, scaler)
    weights = []
    for _ in range(8):
        one.update(one(torch.full((1,), 30.0)).sum(), 1.0)
        weights.append(one.module.weight.item())
    assert weights[0] == weights[1] == 1.0  # 2^126 and 2^125 times 30 are infinite
    assert scaler.get_scale() < 2.0**125
    assert weights[-1] < 0.9 and torch.isfinite(one.module.weight).all()


def test_gradients_are_clipped_as_asked() -> None:
    one = learner(CLIP, torch.amp.GradScaler("cpu", init_scale=2.0**4))
    one.update(one(torch.full((1,), 30.0)).sum(), 1.0)
    assert one.module.weight.grad.item() == pytest.approx(CLIP, rel=1e-3)


def test_without_a_scaler_gradients_that_are_no_numbers_end_the_training_before_they_reach_the_weights() -> None:
    one = learner(CLIP, None)
    with pytest.raises(DivergedError, match="the gradients of the network are no longer finite"):
        one.update((one(torch.ones(1)) - 1.0).sqrt().sum(), 1.0)  # the root is 0, and infinitely steep
    assert one.module.weight.item() == 1.0
