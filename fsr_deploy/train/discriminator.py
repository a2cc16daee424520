"""AMIGAN's discriminator."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

SLOPE = 0.2


class Discriminator(nn.Module):
    """Tells HR faces from SR faces: (N, 3, H, W) float RGB in [-1, 1] to (N, 1) logits, positive for HR.

    SRGAN's eight convolutions, 64 to 512 wide, every second one of stride 2, then two dense layers.
    * Paper A only says "discriminator": spectral norm on every layer takes the place of SRGAN's batch norm, because it
    keeps the discriminator's slope bounded and its output independent of the batch; the mean over positions before the
    dense layers takes the place of flattening, so that any size works.
    """

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        widths = [width, width, 2 * width, 2 * width, 4 * width, 4 * width, 8 * width, 8 * width]
        layers: list[nn.Module] = []
        for index, (cin, cout) in enumerate(zip([3, *widths], widths, strict=False)):
            layers += [spectral_norm(nn.Conv2d(cin, cout, 3, 1 + index % 2, padding=1)), nn.LeakyReLU(SLOPE)]
        self.body = nn.Sequential(*layers)
        self.head = nn.Sequential(
            spectral_norm(nn.Linear(8 * width, 16 * width)),
            nn.LeakyReLU(SLOPE),
            spectral_norm(nn.Linear(16 * width, 1)),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return one logit per face."""
        logits: Tensor = self.head(self.body(x).mean((2, 3)))
        return logits
