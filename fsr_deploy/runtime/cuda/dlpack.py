"""DLPack's structures, and reading and making its capsules: how libraries share arrays without a copy. Version 1.0
added a flag for read-only arrays. Both versions are read; the first one is made, because every library takes it.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

import numpy as np

CUDA, CUDA_HOST, CUDA_MANAGED = 2, 3, 13  # DLDeviceType
READ_ONLY = 1  # in VersionedTensor.flags
_KINDS = {0: "i", 1: "u", 2: "f"}
_CODES = {kind: code for code, kind in _KINDS.items()}
_NAME, _VERSIONED_NAME = b"dltensor", b"dltensor_versioned"
_MAJOR = 1


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


class _VersionedTensor(ctypes.Structure):
    """DLManagedTensorVersioned."""

    _fields_ = (
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("context", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
        ("flags", ctypes.c_uint64),
        ("tensor", _Tensor),
    )


_api = ctypes.pythonapi
_new_capsule = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)(
    ("PyCapsule_New", _api)
)
# The capsule is passed as a plain pointer: a destructor gets an object that must not be referenced again.
_is_valid = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p)(("PyCapsule_IsValid", _api))
_get_pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)(("PyCapsule_GetPointer", _api))


@dataclass(frozen=True)
class Contents:
    """An array in a capsule; ``strides`` are in elements, None for C order."""

    address: int
    shape: tuple[int, ...]
    strides: tuple[int, ...] | None
    dtype: np.dtype[Any]
    read_only: bool


def take(array: Any, stream: int) -> Any:
    """Return a capsule of another library's array, ready for a stream; it keeps the array's memory alive. Raises
    BufferError, or another error of the library, where it does not share the array.
    """
    try:
        return array.__dlpack__(stream=stream, max_version=(_MAJOR, 0))
    except TypeError:  # a library from before DLPack 1.0
        return array.__dlpack__(stream=stream)


def read(capsule: Any) -> Contents:
    """Return what a capsule holds; raises BufferError for a type or version that no engine takes."""
    tensor, read_only = _tensor(capsule)
    if tensor.dtype.kind not in _KINDS or tensor.dtype.lanes != 1 or tensor.dtype.bits % 8:
        raise BufferError("of a type that no engine takes")
    return Contents(
        (tensor.data or 0) + tensor.byte_offset,
        tuple(tensor.shape[: tensor.ndim]),
        tuple(tensor.strides[: tensor.ndim]) if tensor.strides else None,
        np.dtype(f"{_KINDS[tensor.dtype.kind]}{tensor.dtype.bits // 8}"),
        read_only,
    )


def _tensor(capsule: Any) -> tuple[_Tensor, bool]:
    if _is_valid(id(capsule), _NAME):
        return _at(_ManagedTensor, capsule, _NAME).tensor, False
    if not _is_valid(id(capsule), _VERSIONED_NAME):
        raise BufferError("no DLPack capsule, or one that was taken already")
    versioned = _at(_VersionedTensor, capsule, _VERSIONED_NAME)
    if versioned.major != _MAJOR:
        raise BufferError(f"of DLPack {versioned.major}, and {_MAJOR} is known here")
    return versioned.tensor, bool(versioned.flags & READ_ONLY)


def _at(structure: Any, capsule: Any, name: bytes) -> Any:
    return ctypes.cast(_get_pointer(id(capsule), name), ctypes.POINTER(structure)).contents


class _Export:
    """The structure that a consumer reads. ``_exports`` keeps it and the owner alive until the deleter is called."""

    def __init__(self, owner: Any, address: int, device: int) -> None:
        self.owner = owner
        self.shape = (ctypes.c_int64 * len(owner.shape))(*owner.shape)
        dtype = _Dtype(_CODES[owner.dtype.kind], owner.dtype.itemsize * 8, 1)
        tensor = _Tensor(address, _Device(CUDA, device), len(owner.shape), dtype, self.shape, None, 0)
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


def give(owner: Any, address: int, device: int) -> Any:
    """Return a capsule of an array in C order with ``shape`` and ``dtype``, at an address of a GPU."""
    export = _Export(owner, address, device)
    _exports[export.address] = export
    return _new_capsule(export.address, _NAME, ctypes.cast(_drop_capsule, ctypes.c_void_p))
