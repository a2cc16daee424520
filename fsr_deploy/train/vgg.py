"""VGG19's convolutions for the perceptual loss (Simonyan and Zisserman, 2015), with weights from the user's file."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from fsr_deploy.errors import InputError
from fsr_deploy.models.checkpoints import load_weights
from fsr_deploy.models.weight_search import Wanted

BLOCKS = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))
WANTED = "a state dict of VGG19 as torchvision names it (vgg19-dcbb9e9d.pth of download.pytorch.org/models)"


class VGG19Features(nn.Sequential):
    """The sixteen convolutions up to conv5_4, before its ReLU: (N, 3, H, W) in [-1, 1] to (N, 512, H/16, W/16).

    Indices are torchvision's ``features``, so that its state dict fits; the parameters are frozen.
    * The paper does not name the layer; conv5_4 is the one SRGAN compares.
    """

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        layers: list[nn.Module] = []
        cin = 3
        for width, convolutions in BLOCKS:
            for _ in range(convolutions):
                layers += [nn.Conv2d(cin, width, 3, padding=1), nn.ReLU()]
                cin = width
            layers.append(nn.MaxPool2d(2))
        super().__init__(*layers[:-2])
        self.register_buffer("mean", torch.tensor((0.485, 0.456, 0.406)).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor((0.229, 0.224, 0.225)).view(1, 3, 1, 1), persistent=False)
        self.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the features of faces, normalised as VGG19 was trained."""
        return super().forward(((x + 1) / 2 - self.mean) / self.std)


def load_vgg19(path: Path) -> VGG19Features:
    """Load VGG19's convolutions; raises InputError where the file is missing or holds something else.

    The classifier's weights, if the file has them, are not needed.
    """
    features = VGG19Features()
    try:
        features.load_state_dict(load_weights(Wanted.by(features, "VGG19"), path).weights)
    except InputError as error:
        raise InputError(f"{error}; it needs {WANTED}") from error
    return features
