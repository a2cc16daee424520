"""The part of CUDA that a session needs: streams, events, memory and graphs. Every call is checked.

Thin objects over ``cuda.bindings.runtime``. Each owns what it allocates and frees it in ``close``; what belongs to a
device must be made and used with that device current in the calling thread (``use_device``).
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fsr_deploy._util import imports
from fsr_deploy.errors import DeviceError, MissingError
from fsr_deploy.runtime.session import OutOfMemory

# Errors that say that this machine lacks something, not that the GPU failed.
LACKING = (
    *("cudaErrorInsufficientDriver", "cudaErrorNoDevice", "cudaErrorInvalidDevice", "cudaErrorDevicesUnavailable"),
    *("cudaErrorInitializationError", "cudaErrorSystemDriverMismatch", "cudaErrorSystemNotReady"),
    *("cudaErrorCompatNotSupportedOnDevice", "cudaErrorNoKernelImageForDevice", "cudaErrorUnsupportedPtxVersion"),
    *("cudaErrorCallRequiresNewerDriver", "cudaErrorDeviceNotLicensed", "cudaErrorStubLibrary"),
)


class CudaError(DeviceError):
    """A CUDA call that failed."""


class CudaMissing(CudaError, MissingError):
    """A CUDA call that cannot succeed on this machine: no GPU, or no driver that fits."""

    exit_code = MissingError.exit_code


@cache
def runtime() -> ModuleType:
    """Import ``cuda.bindings.runtime``; raises MissingError where cuda-bindings is not installed, or is broken."""
    return imports.load("cuda.bindings.runtime")


def call(function: str, *arguments: Any) -> Any:
    """Call a CUDA runtime function by name; return its result, a tuple of several, None for those without.

    Raises OutOfMemory for a failed allocation, CudaMissing where the machine lacks something and CudaError for any
    other failure, all with CUDA's own words.
    """
    code, *results = getattr(runtime(), function)(*arguments)
    _require(function, code)
    if len(results) > 1:
        return tuple(results)
    return results[0] if results else None


def _require(function: str, code: Any) -> None:
    cudart = runtime()
    if code == cudart.cudaError_t.cudaSuccess:
        return
    cudart.cudaGetLastError()  # so that the failure is not reported again by the next call
    message = f"{function}: {cudart.cudaGetErrorString(code)[1].decode()} ({code.name})"
    if code == cudart.cudaError_t.cudaErrorMemoryAllocation:
        raise OutOfMemory(message)
    if code.name in LACKING:
        raise CudaMissing(f"{message}; check with nvidia-smi")
    raise CudaError(f"the GPU failed: {message}; run again, and if it comes back look for Xid in dmesg")


def use_device(index: int) -> None:
    """Make a GPU current in the calling thread."""
    call("cudaSetDevice", index)


def memory() -> tuple[int, int]:
    """Return the free and the total memory of the current GPU in bytes."""
    return call("cudaMemGetInfo")


def place_of(address: int) -> tuple[str, int]:
    """Return the kind of memory at an address, "device", "managed" or "host", and its GPU."""
    attributes = call("cudaPointerGetAttributes", address)
    kinds = runtime().cudaMemoryType
    known = {kinds.cudaMemoryTypeDevice: "device", kinds.cudaMemoryTypeManaged: "managed"}
    return known.get(attributes.type, "host"), int(attributes.device)


class Event:
    """A mark in a stream. ``timing`` events measure time; with the others, a waiting thread sleeps instead of
    spinning."""

    def __init__(self, *, timing: bool = False) -> None:
        cudart = runtime()
        flags = 0 if timing else cudart.cudaEventDisableTiming | cudart.cudaEventBlockingSync
        self._event = call("cudaEventCreateWithFlags", flags)

    @property
    def handle(self) -> Any:
        """The CUDA handle."""
        return self._event

    def record(self, stream: int) -> None:
        """Put the mark after the work that is in the stream (an integer handle) so far."""
        call("cudaEventRecord", self._event, stream)

    def wait(self) -> None:
        """Block the calling thread until the mark is reached."""
        call("cudaEventSynchronize", self._event)

    def reached(self) -> bool:
        """Tell whether the mark is reached, without waiting."""
        cudart = runtime()
        (code,) = cudart.cudaEventQuery(self._event)
        if code == cudart.cudaError_t.cudaErrorNotReady:
            cudart.cudaGetLastError()
            return False
        _require("cudaEventQuery", code)
        return True

    def milliseconds_since(self, start: Event) -> float:
        """Return the time between two reached marks of timing events."""
        return call("cudaEventElapsedTime", start._event, self._event)

    def close(self) -> None:
        """Destroy the event."""
        _release(self, "_event", "cudaEventDestroy")


class Stream:
    """A stream that does not wait for the default stream."""

    def __init__(self) -> None:
        self._stream = call("cudaStreamCreateWithFlags", runtime().cudaStreamNonBlocking)
        self.handle = int(self._stream)

    def wait_for(self, event: Event) -> None:
        """Make later work in this stream wait for an event of another stream."""
        wait_in(self.handle, event)

    def synchronize(self) -> None:
        """Block the calling thread until the stream is empty."""
        call("cudaStreamSynchronize", self._stream)

    def close(self) -> None:
        """Destroy the stream."""
        _release(self, "_stream", "cudaStreamDestroy")


def wait_in(stream: int, event: Event) -> None:
    """Make later work in a stream, given by its handle, wait for an event."""
    call("cudaStreamWaitEvent", stream, event.handle, 0)


class DeviceMemory:
    """Memory on the current GPU."""

    def __init__(self, nbytes: int) -> None:
        self.nbytes = nbytes
        self._pointer = call("cudaMalloc", nbytes)
        self.address = int(self._pointer)

    def close(self) -> None:
        """Free the memory."""
        _release(self, "_pointer", "cudaFree")


class PinnedArray:
    """Page-locked host memory as a NumPy array; only such memory can be copied while the GPU computes."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        nbytes = int(np.prod(shape)) * dtype.itemsize
        self._pointer = call("cudaHostAlloc", nbytes, 0)
        self.address = int(self._pointer)
        raw = (ctypes.c_ubyte * nbytes).from_address(self.address)
        self.array: NDArray[Any] = np.ctypeslib.as_array(raw).view(dtype).reshape(shape)

    def close(self) -> None:
        """Free the memory; ``array`` must not be used afterwards."""
        self.array = np.empty(0, self.array.dtype)
        _release(self, "_pointer", "cudaFreeHost")


def upload(target: int, source: int, nbytes: int, stream: int) -> None:
    """Copy host memory to the device, in stream order; all are addresses or handles."""
    call("cudaMemcpyAsync", target, source, nbytes, runtime().cudaMemcpyKind.cudaMemcpyHostToDevice, stream)


def download(target: int, source: int, nbytes: int, stream: int) -> None:
    """Copy device memory to the host, in stream order."""
    call("cudaMemcpyAsync", target, source, nbytes, runtime().cudaMemcpyKind.cudaMemcpyDeviceToHost, stream)


class Graph:
    """Work captured from a stream once, launched as one call afterwards."""

    def __init__(self, stream: Stream, work: Callable[[], None]) -> None:
        """Capture the work that ``work`` puts into the stream; raises what ``work`` raises, and CudaError."""
        with _capture(stream) as captured:
            work()
        graph = captured[0]
        try:
            self._executable = call("cudaGraphInstantiate", graph, 0)
        finally:
            call("cudaGraphDestroy", graph)

    def launch(self, stream: Stream) -> None:
        """Put the captured work into a stream."""
        call("cudaGraphLaunch", self._executable, stream.handle)

    def close(self) -> None:
        """Destroy the graph."""
        _release(self, "_executable", "cudaGraphExecDestroy")


@contextmanager
def _capture(stream: Stream) -> Iterator[list[Any]]:
    """Capture the calling thread's work in a stream; when the block ends, the graph is in the list that was yielded.
    Other threads may allocate and copy meanwhile. A failed capture is ended too, so that the stream can be used again.
    """
    captured: list[Any] = []
    mode = runtime().cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
    call("cudaStreamBeginCapture", stream.handle, mode)
    try:
        yield captured
    except BaseException:
        cudart = runtime()
        _, graph = cudart.cudaStreamEndCapture(stream.handle)
        if graph is not None and int(graph):
            cudart.cudaGraphDestroy(graph)
        cudart.cudaGetLastError()
        raise
    captured.append(call("cudaStreamEndCapture", stream.handle))


def _release(owner: object, attribute: str, function: str) -> None:
    """Free a handle once, also where ``close`` is called twice."""
    handle = getattr(owner, attribute)
    setattr(owner, attribute, None)
    if handle is not None:
        call(function, handle)
