"""Pictures larger than an engine takes: cut into tiles that overlap, and put together again without a seam."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from fsr_deploy.images.resize import Face

# Of an overlap, the outer quarter of each tile is not used: its pixels know least of what is beside the tile. Over the
# half between them one tile fades into the next.
UNUSED, FADING = 1 / 4, 1 / 2
_LEAST = 1e-6  # weight of what is not used, where nothing else is


@dataclass(frozen=True)
class Grid:
    """Where the tiles of a picture are: ``rows`` and ``columns`` are the first of each tile's pixels.

    ``size`` is the picture's (height, width), ``tile`` a tile's, ``overlap`` how many pixels two tiles share at least.
    """

    size: tuple[int, int]
    tile: tuple[int, int]
    overlap: int

    @property
    def rows(self) -> list[int]:
        """The first row of each row of tiles."""
        return _starts(self.size[0], self.tile[0], self.overlap)

    @property
    def columns(self) -> list[int]:
        """The first column of each column of tiles."""
        return _starts(self.size[1], self.tile[1], self.overlap)

    def cut(self, picture: Face) -> list[Face]:
        """Return the tiles of an (h, w, 3) picture, row by row; one smaller than a tile is mirrored at its end."""
        missing = [(0, max(0, tile - side)) for tile, side in zip(self.tile, self.size, strict=True)]
        whole = np.pad(picture, (*missing, (0, 0)), "symmetric") if any(after for _, after in missing) else picture
        height, width = self.tile
        columns = self.columns
        return [
            np.ascontiguousarray(whole[row : row + height, column : column + width])
            for row in self.rows
            for column in columns
        ]

    def join(self, tiles: Iterable[Face], scale: int) -> Face:
        """Return the picture of tiles that were enlarged ``scale`` times, (scale h, scale w, 3) uint8."""
        height, width = (max(side, tile) * scale for side, tile in zip(self.size, self.tile, strict=True))
        rows, columns = self.rows, self.columns
        down = _weights(rows, self.tile[0], self.overlap, scale)
        across = _weights(columns, self.tile[1], self.overlap, scale)
        canvas = np.zeros((height, width, 3), np.float32)
        places = product(zip(rows, down, strict=True), zip(columns, across, strict=True))
        for ((row, of_row), (column, of_column)), tile in zip(places, tiles, strict=True):
            y, x = row * scale, column * scale
            weight = of_row[:, None] * of_column[None]
            canvas[y : y + len(tile), x : x + len(tile[0])] += tile * weight[..., None]
        return np.rint(canvas[: self.size[0] * scale, : self.size[1] * scale]).astype(np.uint8)


def _starts(side: int, tile: int, overlap: int) -> list[int]:
    """Return where tiles begin along one side; the last ends with it."""
    if side <= tile:
        return [0]
    return [*range(0, side - tile, tile - overlap), side - tile]


def _weights(starts: Sequence[int], tile: int, overlap: int, scale: int) -> list[NDArray[np.float32]]:
    """Return each tile's weights along one side, in enlarged pixels; those of all tiles add up to 1 everywhere."""
    length, share = tile * scale, overlap * scale
    weights = []
    for index in range(len(starts)):
        weight = np.ones(length, np.float32)
        if share:
            ramp = np.clip((np.arange(length) + 0.5 - UNUSED * share) / (FADING * share), _LEAST, 1)
            weight *= ramp if index else 1
            weight *= ramp[::-1] if index < len(starts) - 1 else 1
        weights.append(weight.astype(np.float32))
    total = np.zeros((starts[-1] + tile) * scale, np.float32)
    for start, weight in zip(starts, weights, strict=True):
        total[start * scale : start * scale + length] += weight
    return [
        weight / total[start * scale : start * scale + length] for start, weight in zip(starts, weights, strict=True)
    ]
