"""One update of one network's weights."""

from __future__ import annotations

import math
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from fsr_deploy.errors import ExitCode, FsrError
from fsr_deploy.train.recipes import Recipe


class DivergedError(FsrError):
    """A loss or a weight is NaN or infinite; earlier checkpoints are not affected."""

    exit_code = ExitCode.PARTIAL


class Learner:
    """A network with its optimiser, on all processes. Call the learner to train; ``module`` gives access to the
    weights."""

    def __init__(self, name: str, module: nn.Module, lr: float, recipe: Recipe, fabric: Fabric) -> None:
        self.name, self.module, self.lr, self.clip, self.fabric = name, module, lr, recipe.clip, fabric
        self.optimizer: Optimizer = Adam(module.parameters(), lr, betas=(recipe.beta1, recipe.beta2))
        self.wrapped, self.stepper = fabric.setup(module, self.optimizer)

    def __call__(self, x: Tensor) -> Tensor:
        """Run the network so that its gradients are averaged over the processes."""
        y: Tensor = self.wrapped(x)
        return y

    def update(self, loss: Tensor, lr_factor: float) -> None:
        """Take one step down a loss; raises DivergedError, on all processes, where it is not finite on one.

        With FP16's scaler, gradients that are not finite mean that the scale is too large: the scaler skips the step
        and reduces the scale.
        """
        mean = float(torch.as_tensor(self.fabric.all_reduce(loss.detach())))
        if not math.isfinite(mean):
            raise DivergedError(f"the loss of the {self.name} is {mean}")
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr * lr_factor
        self.stepper.zero_grad()
        self.fabric.backward(loss)
        if self.clip:
            self._clip()
        self.stepper.step()

    def _clip(self) -> None:
        norm = self.fabric.clip_gradients(self.wrapped, self.stepper, max_norm=self.clip, error_if_nonfinite=False)
        scaled = getattr(self.fabric.strategy.precision, "scaler", None) is not None
        if not scaled and norm is not None and not torch.isfinite(norm):
            raise DivergedError(f"the gradients of the {self.name} are no longer finite")

    def state(self) -> dict[str, Any]:
        """Return weights and optimiser; raises DivergedError where a weight is not finite."""
        weights = self.module.state_dict()
        if broken := [name for name, tensor in weights.items() if not torch.isfinite(tensor).all()]:
            raise DivergedError(f"the weights of the {self.name} are no longer finite ({broken[0]})")
        return {"weights": weights, "optimizer": self.optimizer.state_dict()}

    def load(self, state: dict[str, Any]) -> None:
        """Take up a state."""
        self.module.load_state_dict(state["weights"])
        self.optimizer.load_state_dict(state["optimizer"])
