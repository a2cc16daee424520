"""The bicubic upsampling inside the graph is Pillow's."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from fsr_deploy.exporting.graph.bicubic import Bicubic, weights

Face = NDArray[np.uint8]


def faces(size: int) -> Iterator[Face]:
    """Yield random and extreme images, (size, size, 3)."""
    random = np.random.default_rng(size)
    for _ in range(40):
        yield random.integers(0, 256, (size, size, 3), dtype=np.uint8)
        yield np.where(random.random((size, size, 3)) < 0.5, 0, 255).astype(np.uint8)
    board = np.indices((size, size)).sum(axis=0)[..., np.newaxis] % 2 * 255
    yield np.repeat(board, 3, axis=2).astype(np.uint8)
    border = [(0, 0), (1, 0), (0, size - 2), (size - 1, size - 1)]
    for row, column in [*border, *random.integers(0, size, (30, 2))]:
        dot = np.zeros((size, size, 3), np.uint8)
        dot[row, column] = random.integers(1, 256, 3)
        yield dot
        yield 255 - dot


@pytest.mark.parametrize(("size", "scale"), [(8, 8), (16, 8), (32, 8), (16, 4)])
def test_upsampling_is_pillows_but_for_a_few_values_one_level_off(size: int, scale: int) -> None:
    batch = np.stack(list(faces(size)))
    side = size * scale
    pillow = np.stack(
        [np.asarray(Image.fromarray(face).resize((side, side), Image.Resampling.BICUBIC)) for face in batch]
    )
    module = Bicubic(size, scale)
    ours = np.concatenate(
        [module(torch.from_numpy(part).permute(0, 3, 1, 2).float()) for part in np.array_split(batch, 16)]
    )
    error = np.abs(ours.transpose(0, 2, 3, 1) - pillow)
    assert error.max() <= 1
    assert (error > 0).mean() < (1e-6 if scale == 8 else 1e-4)


@pytest.mark.parametrize("size", [4, 16, 32])
def test_flat_faces_stay_flat(size: int) -> None:
    assert torch.allclose(weights(size, 8).double().sum(dim=1), torch.ones(8 * size, dtype=torch.float64), atol=1e-6)
    flat = torch.full((1, 3, size, size), 173.0)
    assert torch.equal(Bicubic(size)(flat), torch.full((1, 3, 8 * size, 8 * size), 173.0))
