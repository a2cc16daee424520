"""The NVIDIA driver and its GPUs, read through the driver's own library: no CUDA package is needed. All code checks
here before it uses TensorRT or CUDA: without a GPU, TensorRT 8.6 ends the whole process.
"""

from __future__ import annotations

import ctypes
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from fsr_deploy.errors import MissingError

LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
KERNEL_MODULE_VERSION = Path("/sys/module/nvidia/version")

_COMPUTE_CAPABILITY_MAJOR = 75  # CUdevice_attribute
_COMPUTE_CAPABILITY_MINOR = 76
_NO_DEVICE = 100  # CUresult


@dataclass(frozen=True)
class Gpu:
    """One GPU as the driver numbers it for this process; ``memory`` is its total memory in bytes."""

    index: int
    name: str
    compute_capability: tuple[int, int]
    memory: int

    @property
    def sm(self) -> str:
        """The compute capability as compilers write it: "sm_90"."""
        return "sm_{}{}".format(*self.compute_capability)


@dataclass(frozen=True)
class Driver:
    """The driver: ``cuda`` is the newest CUDA version it runs, ``version`` its own ("" where the system hides it)."""

    cuda: tuple[int, int]
    version: str
    gpus: tuple[Gpu, ...]


def find_driver() -> Driver:
    """Return the driver and its GPUs; raises MissingError with one sentence where there is none to use."""
    library = _load_library()
    code = library.cuInit(0)
    if code == _NO_DEVICE:
        hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
        hint = "" if hidden is None else f" (CUDA_VISIBLE_DEVICES is {hidden!r})"
        raise MissingError(f"the NVIDIA driver finds no GPU{hint}")
    _check(library, "cuInit", code)
    version = _integer(library, "cuDriverGetVersion")
    gpus = tuple(_gpu(library, index) for index in range(_integer(library, "cuDeviceGetCount")))
    return Driver((version // 1000, version % 1000 // 10), _module_version(), gpus)


def find_gpu(index: int = 0) -> Gpu:
    """Return one GPU; raises MissingError where there is no driver or no GPU of that number."""
    gpus = find_driver().gpus
    if index >= len(gpus):
        raise MissingError(
            f"no device is called cuda:{index} here; there is {', '.join(f'cuda:{g.index}' for g in gpus)}"
        )
    return gpus[index]


def has_gpu() -> bool:
    """Tell whether a GPU can be used here."""
    try:
        return bool(find_driver().gpus)
    except MissingError:
        return False


def _load_library() -> ctypes.CDLL:
    try:
        return ctypes.CDLL(LIBRARY)
    except OSError:
        raise MissingError(f"this machine has no NVIDIA driver ({LIBRARY} is not found)") from None


def _gpu(library: ctypes.CDLL, index: int) -> Gpu:
    device = _integer(library, "cuDeviceGet", index)
    name = ctypes.create_string_buffer(256)
    _check(library, "cuDeviceGetName", library.cuDeviceGetName(name, len(name), device))
    memory = ctypes.c_size_t()
    _check(library, "cuDeviceTotalMem", library.cuDeviceTotalMem_v2(ctypes.byref(memory), device))
    capability = (
        _integer(library, "cuDeviceGetAttribute", _COMPUTE_CAPABILITY_MAJOR, device),
        _integer(library, "cuDeviceGetAttribute", _COMPUTE_CAPABILITY_MINOR, device),
    )
    return Gpu(index, name.value.decode(errors="replace"), capability, memory.value)


def _integer(library: ctypes.CDLL, function: str, *arguments: int) -> int:
    """Call a driver function whose first parameter takes its integer result."""
    result = ctypes.c_int()
    _check(library, function, getattr(library, function)(ctypes.byref(result), *arguments))
    return result.value


def _check(library: ctypes.CDLL, function: str, code: int) -> None:
    if code == 0:
        return
    name = ctypes.c_char_p()
    library.cuGetErrorName(code, ctypes.byref(name))
    reason = (name.value or b"unknown error").decode()
    raise MissingError(
        f"the NVIDIA driver does not work: {function} failed with {reason} ({code}); check with nvidia-smi"
    )


def _module_version() -> str:
    try:
        return KERNEL_MODULE_VERSION.read_text(encoding="ascii").strip()
    except OSError:
        return ""
