"""Arrays of other libraries on the GPU: their address, whether an engine can take them, and when they are ready. Two
protocols are read: ``__cuda_array_interface__`` (PyTorch, CuPy, Numba, PyCUDA) and DLPack (PyTorch, CuPy, JAX,
TensorFlow). The first does not name the device and the second may be wrong, so CUDA is asked about the address.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fsr_deploy.errors import InputError
from fsr_deploy.runtime.cuda import api as cuda
from fsr_deploy.runtime.cuda import dlpack
from fsr_deploy.runtime.cuda.arrays import LEGACY_STREAM, DeviceArray


@dataclass(frozen=True)
class View:
    """An array of another library: its address, and the stream in which it is ready (None: the caller's).

    ``owner`` keeps the memory alive.
    """

    address: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    stream: int | None
    owner: Any
    read_only: bool = False

    @property
    def nbytes(self) -> int:
        """Its size in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize

    def overlaps(self, other: View) -> bool:
        """Tell whether two arrays share memory."""
        return self.address < other.address + other.nbytes and other.address < self.address + self.nbytes


def view(array: Any, stream: int, device: int) -> View:
    """Return a view of another library's array; nothing is copied.

    ``stream`` is the consumer's. Raises InputError where the array is not on this GPU, not C-contiguous or masked.
    """
    name = type(array).__name__
    if isinstance(array, DeviceArray):
        found = View(array.memory.address, array.shape, array.dtype, array.stream, array)
    elif hasattr(array, "__cuda_array_interface__"):
        found = _from_interface(array, name)
    elif hasattr(array, "__dlpack__") and array.__dlpack_device__()[0] in (dlpack.CUDA, dlpack.CUDA_MANAGED):
        found = _from_dlpack(array, stream, name)
    else:
        raise InputError(f"{name}: not an array on cuda:{device} (__cuda_array_interface__ or DLPack)")
    if found.nbytes:
        _check_place(found.address, device, name)
    return found


def _from_interface(array: Any, name: str) -> View:
    interface = array.__cuda_array_interface__
    shape, dtype = tuple(interface["shape"]), np.dtype(interface["typestr"])
    if interface.get("mask") is not None:
        raise InputError(f"{name}: a masked array; fill it before")
    _require_contiguous(shape, interface.get("strides"), dtype.itemsize)
    address, read_only = interface["data"]
    stream = interface.get("stream")
    return View(address or 0, shape, dtype, LEGACY_STREAM if stream == 0 else stream, array, bool(read_only))


def _from_dlpack(array: Any, stream: int, name: str) -> View:
    try:
        capsule = dlpack.take(array, stream)
        found = dlpack.read(capsule)
    except (BufferError, RuntimeError, TypeError, ValueError) as error:
        raise InputError(f"{name}: its library does not give it by DLPack: {error}") from error
    strides = [step * found.dtype.itemsize for step in found.strides] if found.strides is not None else None
    _require_contiguous(found.shape, strides, found.dtype.itemsize)
    return View(found.address, found.shape, found.dtype, None, capsule, found.read_only)


def _require_contiguous(shape: tuple[int, ...], strides: Sequence[int] | None, itemsize: int) -> None:
    if strides is not None:
        steps = [itemsize * math.prod(shape[i + 1 :]) for i in range(len(shape))]
        if any(n > 1 and stride != step for n, stride, step in zip(shape, strides, steps, strict=True)):
            raise InputError(f"an array of shape {shape} that is not C-contiguous; make it so before")


def _check_place(address: int, device: int, name: str) -> None:
    """Raise InputError for memory that is neither of this GPU nor managed memory."""
    kind, index = cuda.place_of(address)
    if kind == "managed" or (kind == "device" and index == device):
        return
    place = f"on cuda:{index}" if kind == "device" else "in the host's memory"
    raise InputError(f"{name}: an array {place}, this engine runs on cuda:{device}; copy it there before")
