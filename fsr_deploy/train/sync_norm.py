"""Batch norm over the whole global batch, so that the number of processes does not change the training."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce


class SyncBatchNorm2d(nn.BatchNorm2d):
    """nn.BatchNorm2d whose mean and variance are those of all processes' batches together, in float32.

    PyTorch's own SyncBatchNorm runs on GPUs only; this one runs on any process group. Every process must
    hold the same number of pixels.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (N, C, H, W) by the global batch in training, by the running statistics otherwise."""
        if not self.training:
            return super().forward(x)
        y = x.float()
        world = torch.distributed.get_world_size()
        moments = all_reduce(torch.stack((y.mean((0, 2, 3)), y.square().mean((0, 2, 3))))) / world
        mean, variance = moments[0], (moments[1] - moments[0].square()).clamp(min=0)
        self._remember(mean.detach(), variance.detach(), y.numel() // y.shape[1] * world)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (y * scale.view(1, -1, 1, 1) + (self.bias - mean * scale).view(1, -1, 1, 1)).to(x.dtype)

    def _remember(self, mean: Tensor, variance: Tensor, count: int) -> None:
        assert self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        momentum = 0.1 if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, momentum)
        self.running_var.lerp_(variance * count / max(count - 1, 1), momentum)


def synchronise(module: nn.Module) -> None:
    """Turn every batch norm of a network into a SyncBatchNorm2d, in place; names and weights stay."""
    for layer in module.modules():
        if type(layer) is nn.BatchNorm2d:
            layer.__class__ = SyncBatchNorm2d
