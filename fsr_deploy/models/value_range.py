"""A network that was trained on another range of values than [-1, 1], as one that takes and gives that."""

from __future__ import annotations

from torch import Tensor, nn

RANGE = (-1.0, 1.0)  # of the values that networks take and give here


class ValueRange(nn.Module):
    """Maps (N, 3, H, W) RGB in [-1, 1] to the same, around a network that computes in the range ``low`` to ``high``."""

    def __init__(self, network: nn.Module, low: float, high: float) -> None:
        super().__init__()
        self.network = network
        self.middle, self.reach = (high + low) / 2, (high - low) / 2

    def forward(self, x: Tensor) -> Tensor:
        """Return what the network makes of a picture."""
        return (self.network(x * self.reach + self.middle) - self.middle) / self.reach


def adapted(network: nn.Module, value_range: tuple[float, float]) -> nn.Module:
    """Return a network that takes and gives [-1, 1]: itself where it does so, otherwise a ValueRange of it."""
    return network if value_range == RANGE else ValueRange(network, *value_range).train(network.training)
