"""The losses of AMINet and AMIGAN, eqs 17-22 of paper A."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from fsr_deploy.train.vgg import VGG19Features


def pixel_loss(sr: Tensor, hr: Tensor) -> Tensor:
    """Return the mean absolute difference (eq. 17) of two (N, 3, H, W) in [-1, 1]."""
    return F.l1_loss(sr, hr)


class PerceptualLoss(nn.Module):
    """Mean absolute difference of VGG19 features (eq. 18)."""

    def __init__(self, features: VGG19Features) -> None:
        super().__init__()
        self.features = features

    def forward(self, sr: Tensor, hr: Tensor) -> Tensor:
        """Compare two (N, 3, H, W) in [-1, 1]."""
        return F.l1_loss(self.features(sr), self.features(hr).detach())


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Return the discriminator's cross-entropy (eqs 19-20) from its logits on HR and SR faces."""
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def adversarial_loss(fake: Tensor) -> Tensor:
    """Return the generator's -log D(G(x)) (eq. 21) from the discriminator's logits on SR faces."""
    return F.softplus(-fake).mean()
