"""Pyramid attention in two exact batched forms.

Y. Mei et al., "Pyramid Attention Networks for Image Restoration", 2020; eq. 9 of the MFSPNet paper. Every position of a
grid looks for similar 3x3 patches in the grid itself and in four smaller copies of it, and is repainted with them.

The public implementation loops over the batch and convolves with kernels made from the input, which an exporter fixes
to the batch it traced. Here are two forms of the same sums without a loop:

*patch* gathers all 3x3 patches and multiplies them as matrices: few large products, for GPUs.
*shift* multiplies single positions and adds their products up, since the product of two patches is the sum of the
products of their nine positions: a quarter of the multiplications, for CPUs.

Both find neighbours on a *canvas*: the grids one below the other in rows of one length, with empty places between them,
so that one place right and one row down are the same distances in every grid. An empty place holds the number of the
row of zeros that is appended to the features.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from fsr_deploy.errors import UsageError

PYRAMID_SCALES = (1.0, 0.9, 0.8, 0.7, 0.6)
BICUBIC_A = -0.75
SOFTMAX_SCALE = 10.0
NORM_FLOOR = 1e-4
FP32_REASON = "attention logits are in the thousands, where FP16 has steps of 0.125 to 2"

Form = Literal["patch", "shift"]


class PA(nn.Module):
    """Pyramid attention, eq. 9: (N, C, grid, grid) to the same shape, C even.

    Y = X + 1/4 fold(softmax(10 <u(theta(X)), u(g(Z)) / |u(g(Z))|>) u(f(Z))): Z = X P are the five levels of the pyramid
    side by side, L positions in all; u takes 3x3 patches with zeros around each level; fold adds overlapping patches
    up. Only the keys u(g(Z)) are normalised. Norms, logits and softmax are in FP32 even in half precision or autocast.

    ``form`` says how it is computed, "patch" or "shift". It may be set at any time and does not change the result;
    another word raises UsageError.
    * PReLU has one slope and the sum of overlapping patches is divided by 4, as in Mei et al.'s implementation.
    """

    P: Tensor

    def __init__(self, channels: int = 128, grid: int = 16, form: Form = "patch") -> None:
        super().__init__()
        self.grid = grid
        self.theta = _transform(channels, channels // 2)
        self.g = _transform(channels, channels // 2)
        self.f = _transform(channels, channels)
        _constant(self, "P", pyramid_matrix(grid))
        self.form = form

    @property
    def form(self) -> Form:
        """How the attention is computed."""
        return self._form

    @form.setter
    def form(self, form: Form) -> None:
        if form not in FORMS:
            raise UsageError(f"pyramid attention has the forms {' and '.join(FORMS)}, not {form!r}")
        match, paint = FORMS[form]
        self._form: Form = form
        self.match = match(self.grid).to(self.P)
        self.paint = paint(self.grid).to(self.P)

    def forward(self, x: Tensor) -> Tensor:
        """Repaint x with what resembles its surroundings: (N, C, grid, grid) to the same shape."""
        z = (x.flatten(2) @ self.P).unsqueeze(3)
        q, k, v = (y.flatten(2).transpose(1, 2) for y in (self.theta(x), self.g(z), self.f(z)))
        with _without_autocast(x.device.type):
            attention = self.match(_widened(q), _widened(k)).to(v.dtype)
        y = self.paint(attention, v)
        return x + y.transpose(1, 2).unflatten(2, (self.grid, self.grid)) / 4

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> PA:
        super()._apply(fn, recurse)
        # From FP64 again: P in FP32, made double, would be off by 1e-8.
        self.P = torch.tensor(pyramid_matrix(self.grid)).to(self.P)
        return self


class PatchMatch(nn.Module):
    """Softmax of the patches' similarities: queries (N, grid^2, c) and keys (N, L, c) to (N, grid^2, L)."""

    fp32_reason = FP32_REASON
    query_patches: Tensor
    key_patches: Tensor

    def __init__(self, grid: int) -> None:
        super().__init__()
        _constant(self, "query_patches", _neighbours(_canvas([grid], grid + 1), grid + 1))
        _constant(self, "key_patches", _neighbours(_canvas(level_sizes(grid), grid + 1), grid + 1))

    def forward(self, q: Tensor, k: Tensor) -> Tensor:
        """Return softmax(10 <u(q), u(k) / |u(k)|>) over the keys."""
        q, k = _pick(q, self.query_patches).flatten(2), _pick(k, self.key_patches).flatten(2)
        k = k * _scale(k.square().sum(dim=2, keepdim=True))
        return (q @ k.transpose(1, 2)).softmax(dim=2)


class PatchPaint(nn.Module):
    """What the attention (N, grid^2, L) makes of the values (N, L, C), folded: (N, grid^2, C)."""

    patches: Tensor
    fold: Tensor

    def __init__(self, grid: int) -> None:
        super().__init__()
        _constant(self, "patches", _neighbours(_canvas(level_sizes(grid), grid + 1), grid + 1))
        # Position p gathers what the patch around p - d has at d; number 9 grid^2 is the row of zeros.
        around = _neighbours(_canvas([grid], grid + 1), grid + 1)[:, ::-1]
        _constant(self, "fold", np.minimum(9 * around + np.arange(9), 9 * grid**2))

    def forward(self, attention: Tensor, v: Tensor) -> Tensor:
        """Return fold(attention u(v))."""
        patches = attention @ _pick(v, self.patches).flatten(2)
        return _pick(patches.unflatten(2, (9, -1)).flatten(1, 2), self.fold).sum(dim=2)


class ShiftMatch(nn.Module):
    """PatchMatch on the canvas: queries (N, grid^2, c) and keys (N, L, c) to (N, places, places), 0 at empty places."""

    fp32_reason = FP32_REASON
    queries: Tensor
    keys: Tensor
    patches: Tensor
    query_mask: Tensor
    key_mask: Tensor

    def __init__(self, grid: int) -> None:
        super().__init__()
        self.grid = grid
        queries, keys = _canvas([grid], grid + 1)[: -grid - 1], _canvas(level_sizes(grid), grid + 1)
        _constant(self, "queries", queries)
        _constant(self, "keys", keys)
        _constant(self, "patches", _neighbours(keys, grid + 1))
        _constant(self, "query_mask", np.where(queries < queries.max(), 1.0, 0.0)[:, np.newaxis])
        _constant(self, "key_mask", np.where(keys < keys.max(), 0.0, -np.inf))

    def forward(self, q: Tensor, k: Tensor) -> Tensor:
        """Return softmax(10 <u(q), u(k) / |u(k)|>) over the keys, each product of patches as a sum of nine."""
        energy = _pick(k.square().sum(dim=2, keepdim=True), self.patches).sum(dim=2)
        products = _pick(q, self.queries) @ _pick(k, self.keys).transpose(1, 2)
        logits = _diagonal_sum(products, self.grid + 1) * _pick(_scale(energy), self.keys).transpose(1, 2)
        return (logits + self.key_mask).softmax(dim=2) * self.query_mask


class ShiftPaint(nn.Module):
    """PatchPaint on the canvas: the attention (N, places, places) and values (N, L, C) to (N, grid^2, C)."""

    keys: Tensor

    def __init__(self, grid: int) -> None:
        super().__init__()
        self.grid = grid
        _constant(self, "keys", _canvas(level_sizes(grid), grid + 1))

    def forward(self, attention: Tensor, v: Tensor) -> Tensor:
        """Return fold(attention u(v)), the diagonal sums of the attention taking the place of u and fold."""
        painted = _diagonal_sum(attention, self.grid + 1) @ _pick(v, self.keys)
        return painted.unflatten(1, (self.grid, -1))[:, :, : self.grid].flatten(1, 2)


FORMS: dict[Form, tuple[type[PatchMatch | ShiftMatch], type[PatchPaint | ShiftPaint]]] = {
    "patch": (PatchMatch, PatchPaint),
    "shift": (ShiftMatch, ShiftPaint),
}


def level_sizes(grid: int) -> list[int]:
    """Return the sides of the pyramid's levels above an LR grid: 16, 14, 12, 11, 9 for 16."""
    return [int(grid * level) for level in PYRAMID_SCALES]


@functools.cache
def pyramid_matrix(grid: int) -> NDArray[np.float64]:
    """Return P (grid^2, L): what each position of the grid gives to each position of the five levels, bicubic."""
    return np.concatenate([np.kron(r, r) for r in (_bicubic(grid, level) for level in PYRAMID_SCALES)]).T


def _bicubic(grid: int, level: float) -> NDArray[np.float64]:
    """Return the matrix (int(grid level), grid) that resizes an axis: a = -0.75, not antialiased, edges repeated."""
    size = int(grid * level)
    source = (np.arange(size) + 0.5) / level - 0.5
    first = np.floor(source).astype(int)
    matrix = np.zeros((size, grid))
    a = BICUBIC_A
    for tap in range(-1, 3):
        t = np.abs(source - first - tap)
        near, far = ((a + 2) * t - (a + 3)) * t * t + 1, a * (((t - 5) * t + 8) * t - 4)
        np.add.at(matrix, (np.arange(size), np.clip(first + tap, 0, grid - 1)), np.where(t <= 1, near, far))
    return matrix


def _canvas(sizes: Sequence[int], stride: int) -> NDArray[np.int64]:
    """Number the positions of square grids, one grid below the other in rows of ``stride`` places.

    Empty places, at least one at the end of each row and a row below each grid, have the number of all positions.
    """
    empty = sum(size**2 for size in sizes)
    blocks, start = [], 0
    for size in sizes:
        block = np.full((size + 1, stride), empty)
        block[:size, :size] = start + np.arange(size**2).reshape(size, size)
        blocks.append(block.ravel())
        start += size**2
    return np.concatenate(blocks)


def _neighbours(canvas: NDArray[np.int64], stride: int) -> NDArray[np.int64]:
    """Return the numbers of each position and its 8 neighbours, (positions, 9), row by row from the upper left."""
    places = np.flatnonzero(canvas < canvas.max())
    offsets = np.add.outer(np.arange(-1, 2) * stride, np.arange(-1, 2)).ravel()
    return canvas[places[:, np.newaxis] + offsets]  # an index below 0 is in the empty end


def _diagonal_sum(x: Tensor, stride: int) -> Tensor:
    """Sum x[p + d, l + d] over the 3x3 offsets d of places on canvases of ``stride``: (N, p, l) to the same shape.

    Flattened, d = (0, 1) is one row and one place further, and d = (1, 0) is ``stride`` times as far. What wraps around
    there is an empty place, hence zero.
    """
    rows, places = x.shape[1:]
    right = places + 1
    down = right * stride
    x = F.pad(x.flatten(1), (right + down, right + down))
    for step in (right, down):
        x = x[:, : -2 * step] + x[:, step:-step] + x[:, 2 * step :]
    return x.unflatten(1, (rows, places))


def _pick(x: Tensor, index: Tensor) -> Tensor:
    """Pick rows of x (N, L, C): (N, *index.shape, C), zeros where the index is L."""
    return F.pad(x, (0, 0, 0, 1)).index_select(1, index.flatten()).unflatten(1, index.shape)


def _scale(energy: Tensor) -> Tensor:
    """Return 10 / max(|patch|, 1e-4) of |patch|^2; the floor comes before the root, whose slope at 0 is infinite."""
    return SOFTMAX_SCALE / energy.clamp(min=NORM_FLOOR**2).sqrt()


def _widened(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def _without_autocast(device_type: str) -> AbstractContextManager[object]:
    available = torch.amp.is_autocast_available(device_type)  # it is not on the meta device
    return torch.autocast(device_type, enabled=False) if available else nullcontext()


def _transform(cin: int, cout: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(cin, cout, 1), nn.PReLU())


def _constant(module: nn.Module, name: str, value: NDArray[np.generic]) -> None:
    """Give a module a buffer that no state dict holds; real numbers in PyTorch's default type."""
    dtype = torch.get_default_dtype() if value.dtype == np.float64 else torch.int64
    module.register_buffer(name, torch.tensor(value, dtype=dtype), persistent=False)
