"""Arrays on the GPU, taken from and given to other libraries without a copy.

Two protocols do it: ``__cuda_array_interface__`` (PyTorch, CuPy, Numba, PyCUDA) and DLPack (PyTorch, CuPy, JAX,
TensorFlow). Both say in which stream the data is ready, and here everything stays in the caller's stream.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fsr_deploy.errors import InputError
from fsr_deploy.runtime import cuda

LEGACY_STREAM = 1
"""CUDA's explicit name of the default stream; both protocols forbid the ambiguous 0."""
DLPACK_CUDA = 2
_DLPACK_KINDS = {"i": 0, "u": 1, "f": 2}
_NAME = b"dltensor"


class _Device(ctypes.Structure):
    _fields_ = (("kind", ctypes.c_int32), ("index", ctypes.c_int32))


class _Dtype(ctypes.Structure):
    _fields_ = (("kind", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16))


class _Tensor(ctypes.Structure):
    """DLTensor."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device", _Device),
        ("ndim", ctypes.c_int32),
        ("dtype", _Dtype),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


class _ManagedTensor(ctypes.Structure):
    """DLManagedTensor."""

    _fields_ = (("tensor", _Tensor), ("context", ctypes.c_void_p), ("deleter", ctypes.c_void_p))


_api = ctypes.pythonapi
_new_capsule = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)(
    ("PyCapsule_New", _api)
)
# With the capsule as a bare pointer: a destructor gets an object that must not be referenced again.
_is_valid = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p)(("PyCapsule_IsValid", _api))
_get_pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)(("PyCapsule_GetPointer", _api))


@dataclass(frozen=True)
class View:
    """Someone else's array: where it lies, and the stream in which it is ready (None: it is).

    ``owner`` keeps the memory alive.
    """

    address: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    stream: int | None
    owner: Any


def view(array: Any, stream: int, device: int) -> View:
    """Return where an array of another library lies; nothing is copied.

    ``stream`` is the consumer's. Raises InputError where the array is not on this GPU or not C-contiguous.
    """
    if hasattr(array, "__cuda_array_interface__"):
        return _from_interface(array)
    if hasattr(array, "__dlpack__") and array.__dlpack_device__() == (DLPACK_CUDA, device):
        return _from_dlpack(array, stream)
    raise InputError(f"{type(array).__name__}: not an array on cuda:{device} (__cuda_array_interface__ or DLPack)")


def _from_interface(array: Any) -> View:
    interface = array.__cuda_array_interface__
    shape, dtype = tuple(interface["shape"]), np.dtype(interface["typestr"])
    _require_contiguous(shape, interface.get("strides"), dtype.itemsize)
    return View(interface["data"][0], shape, dtype, interface.get("stream"), array)


def _from_dlpack(array: Any, stream: int) -> View:
    capsule = array.__dlpack__(stream=stream)
    tensor = ctypes.cast(_get_pointer(id(capsule), _NAME), ctypes.POINTER(_ManagedTensor)).contents.tensor
    shape = tuple(tensor.shape[: tensor.ndim])
    kinds = {code: kind for kind, code in _DLPACK_KINDS.items()}
    if tensor.dtype.kind not in kinds or tensor.dtype.lanes != 1:
        raise InputError(f"{type(array).__name__}: of a type that no engine takes")
    dtype = np.dtype(f"{kinds[tensor.dtype.kind]}{tensor.dtype.bits // 8}")
    strides = [n * dtype.itemsize for n in tensor.strides[: tensor.ndim]] if tensor.strides else None
    _require_contiguous(shape, strides, dtype.itemsize)
    return View(tensor.data + tensor.byte_offset, shape, dtype, None, capsule)


def _require_contiguous(shape: tuple[int, ...], strides: Sequence[int] | None, itemsize: int) -> None:
    if strides is not None:
        steps = [itemsize * math.prod(shape[i + 1 :]) for i in range(len(shape))]
        if any(n > 1 and stride != step for n, stride, step in zip(shape, strides, steps, strict=True)):
            raise InputError(f"an array of shape {shape} that is not C-contiguous; make it so before")


class DeviceArray:
    """An array in GPU memory of its own, freed with the last who refers to it.

    ``stream`` is the stream, by its handle, in which the content is ready; ``ready`` marks the place in it.
    """

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any], device: int, stream: int) -> None:
        self.shape, self.dtype, self.device, self.stream = shape, dtype, device, stream
        self.memory = cuda.DeviceMemory(math.prod(shape) * dtype.itemsize)
        self.ready = cuda.Event()

    def __del__(self) -> None:
        for name in ("ready", "memory"):
            if hasattr(self, name):  # missing where the allocation failed
                getattr(self, name).close()

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {
            "shape": self.shape,
            "typestr": self.dtype.str,
            "data": (self.memory.address, False),
            "strides": None,
            "stream": self.stream,
            "version": 3,
        }

    def __dlpack_device__(self) -> tuple[int, int]:
        return DLPACK_CUDA, self.device

    def __dlpack__(self, *, stream: int | None = None, **_: Any) -> Any:
        """Return a DLPack capsule; the consumer's stream waits until the content is ready (-1: it does not want to)."""
        if stream != -1:
            cuda.wait_in(stream or LEGACY_STREAM, self.ready)
        return _to_capsule(self)


class _Export:
    """What a consumer of DLPack looks at; kept alive in ``_exports`` until it calls the deleter."""

    def __init__(self, array: DeviceArray) -> None:
        self.array = array
        self.shape = (ctypes.c_int64 * len(array.shape))(*array.shape)
        dtype = _Dtype(_DLPACK_KINDS[array.dtype.kind], array.dtype.itemsize * 8, 1)
        tensor = _Tensor(
            array.memory.address, _Device(DLPACK_CUDA, array.device), len(array.shape), dtype, self.shape, None, 0
        )
        self.managed = _ManagedTensor(tensor, None, ctypes.cast(_delete, ctypes.c_void_p))
        self.address = ctypes.addressof(self.managed)


_exports: dict[int, _Export] = {}


@ctypes.CFUNCTYPE(None, ctypes.c_void_p)
def _delete(address: int) -> None:
    _exports.pop(address, None)


@ctypes.PYFUNCTYPE(None, ctypes.c_void_p)
def _drop_capsule(capsule: int) -> None:
    """Delete what a capsule holds if no one has consumed it (a consumer renames it)."""
    if _is_valid(capsule, _NAME):
        _delete(_get_pointer(capsule, _NAME))


def _to_capsule(array: DeviceArray) -> Any:
    export = _Export(array)
    _exports[export.address] = export
    return _new_capsule(export.address, _NAME, ctypes.cast(_drop_capsule, ctypes.c_void_p))
