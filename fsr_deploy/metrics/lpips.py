"""LPIPS, the learned perceptual distance of Zhang et al. 2018, version 0.1 on AlexNet, from the user's weights."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fsr_deploy.images.resize import Face
from fsr_deploy.metrics.pixel import Mean, Measure
from fsr_deploy.models.checkpoints import load_weights
from fsr_deploy.models.tensors import to_batch
from fsr_deploy.models.weight_search import Wanted

ALEXNET = "alexnet-owt-7be5be79.pth"  # torchvision's
LINEAR = "lpips_alex.pth"  # lpips/weights/v0.1/alex.pth of the authors' repository
FILES = (ALEXNET, LINEAR)
WIDTHS = (64, 192, 384, 256, 256)


class LPIPS(nn.Module):
    """AlexNet's five features of two faces, each pixel's channels normalised, their squared differences weighted."""

    shift: Tensor
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 11, 4, 2),
            nn.ReLU(),
            nn.MaxPool2d(3, 2),
            nn.Conv2d(64, 192, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(3, 2),
            nn.Conv2d(192, 384, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(384, 256, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(256, 256, 3, padding=1),
            nn.ReLU(),
        )
        self.linear = nn.ParameterList(torch.zeros(1, width, 1, 1) for width in WIDTHS)
        self.register_buffer("shift", torch.tensor((-0.030, -0.088, -0.188)).view(1, 3, 1, 1))
        self.register_buffer("scale", torch.tensor((0.458, 0.448, 0.450)).view(1, 3, 1, 1))

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the distance, (N,), of two (N, 3, H, W) float RGB in [-1, 1]."""
        total = torch.zeros(a.shape[0], device=a.device)
        x, y = ((face - self.shift) / self.scale for face in (a, b))
        weights = iter(self.linear)
        for layer in self.features:
            x, y = layer(x), layer(y)
            if isinstance(layer, nn.ReLU):
                difference = (F.normalize(x, dim=1, eps=1e-10) - F.normalize(y, dim=1, eps=1e-10)).square()
                total = total + (difference * next(weights)).sum(1).mean((1, 2))
        return total


def load_lpips(folder: Path, device: torch.device) -> Measure:
    """Return the measure from the files of a folder; raises InputError where they hold something else."""
    network = LPIPS()
    alexnet = load_weights(Wanted.by(network.features, "AlexNet's features"), folder / ALEXNET)
    network.features.load_state_dict(alexnet.weights)
    linear = {f"lin{i}.model.1.weight": (1, width, 1, 1) for i, width in enumerate(WIDTHS)}
    found = load_weights(Wanted("LPIPS on AlexNet", linear, frozenset(linear)), folder / LINEAR)
    with torch.no_grad():
        for weight, name in zip(network.linear, linear, strict=True):
            weight.copy_(found.weights[name])
    network.to(device).eval()

    @torch.inference_mode()
    def distance(sr: Face, hr: Face) -> float:
        one, truth = (to_batch(face).to(device).float() / 127.5 - 1 for face in (sr, hr))
        return float(network(one, truth))

    return Measure("LPIPS", False, lambda: Mean(distance))
