"""A stand-in for ``cuda.bindings.runtime`` with CUDA's ordering rules, in ordinary memory. Work in a stream is done
only when something waits for it: code that reads a result too early, or writes an input too late, gets wrong bytes
every time and not once in a thousand runs. Addresses are real, and every copy is checked to be within live memory of
the right kind.
"""

from __future__ import annotations

import ctypes
import enum
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

FIRST_HANDLE = 1000  # a stream handle below this is one of CUDA's own names of the default stream


class cudaError_t(enum.IntEnum):
    cudaSuccess = 0
    cudaErrorInvalidValue = 1
    cudaErrorMemoryAllocation = 2
    cudaErrorInsufficientDriver = 35
    cudaErrorNotReady = 600
    cudaErrorIllegalAddress = 700
    cudaErrorStreamCaptureUnsupported = 900
    cudaErrorStreamCaptureInvalidated = 901


class cudaMemcpyKind(enum.IntEnum):
    cudaMemcpyHostToDevice = 1
    cudaMemcpyDeviceToHost = 2


class cudaMemoryType(enum.IntEnum):
    cudaMemoryTypeUnregistered = 0
    cudaMemoryTypeHost = 1
    cudaMemoryTypeDevice = 2
    cudaMemoryTypeManaged = 3


class cudaStreamCaptureMode(enum.IntEnum):
    cudaStreamCaptureModeGlobal = 0
    cudaStreamCaptureModeThreadLocal = 1


OK = cudaError_t.cudaSuccess
INVALID = cudaError_t.cudaErrorInvalidValue
Work = Callable[[], object]

_running = threading.RLock()


@dataclass
class Stream:
    work: list[Work] = field(default_factory=list)
    done: int = 0
    captured: list[Work] | None = None
    capture_broken: bool = False
    capturing_thread: int = 0

    def put(self, work: Work) -> None:
        (self.work if self.captured is None else self.captured).append(work)

    def run(self, until: int | None = None) -> None:
        """Do the work up to a position, or all of it."""
        with _running:
            end = len(self.work) if until is None else until
            while self.done < end:
                self.done += 1
                self.work[self.done - 1]()


class Cuda:
    """One GPU. ``failures`` maps a function to the error of its next call; ``calls`` counts."""

    cudaError_t = cudaError_t
    cudaMemcpyKind = cudaMemcpyKind
    cudaMemoryType = cudaMemoryType
    cudaStreamCaptureMode = cudaStreamCaptureMode
    cudaEventDisableTiming = 2
    cudaEventBlockingSync = 1
    cudaStreamNonBlocking = 1

    def __init__(self, memory: int = 1 << 30) -> None:
        self.total = memory
        self.failures: dict[str, cudaError_t] = {}
        self.calls: dict[str, int] = {}
        self.streams: dict[int, Stream] = {0: Stream()}
        self.events: dict[int, tuple[Stream, int] | None] = {}
        self.graphs: dict[int, list[Work]] = {}
        self.executables: dict[int, list[Work]] = {}
        self.memory: dict[str, dict[int, Any]] = {"host": {}, "device": {}}
        self.device = 0
        self.devices: dict[int, int] = {}  # of each address that was ever given out
        self.faults: list[str] = []
        self._next = FIRST_HANDLE

    # For tests. The machine's fixture checks ``faults``, because some of them cannot be raised as exceptions.

    def require(self, condition: bool, fault: str) -> None:
        """Record and raise a fault for which a GPU would give wrong bytes or worse."""
        if not condition:
            self.faults.append(fault)
            raise AssertionError(fault)

    @property
    def live(self) -> int:
        """How many objects have been made and not destroyed, the default stream not counted."""
        tables: list[dict[int, Any]] = [self.streams, self.events, self.graphs, self.executables]
        return sum(map(len, (*tables, *self.memory.values()))) - 1

    @property
    def used(self) -> int:
        """Bytes of device memory in use."""
        return sum(map(len, self.memory["device"].values()))

    def stream(self, handle: int) -> Stream:
        return self.streams[0 if handle < FIRST_HANDLE else int(handle)]

    def within(self, kind: str, address: int, nbytes: int) -> bool:
        """Tell whether a range lies in one live allocation."""
        return any(start <= address and address + nbytes <= start + len(b) for start, b in self.memory[kind].items())

    # CUDA's functions, with the names of their parameters in the real binding.

    def cudaSetDevice(self, device: int) -> tuple[Any, ...]:
        self.device = device
        return self._answer("cudaSetDevice")

    def cudaGetLastError(self) -> tuple[Any, ...]:
        return (OK,)

    def cudaGetErrorString(self, error: cudaError_t) -> tuple[Any, ...]:
        return OK, cudaError_t(error).name.removeprefix("cudaError").lower().encode()

    def cudaMemGetInfo(self) -> tuple[Any, ...]:
        return self._answer("cudaMemGetInfo", self.total - self.used, self.total)

    def cudaMalloc(self, size: int) -> tuple[Any, ...]:
        if self._capturing():
            return self._break_captures(), None
        if self.used + size > self.total:
            return cudaError_t.cudaErrorMemoryAllocation, None
        return self._answer("cudaMalloc", lambda: self._allocate("device", size))

    def cudaHostAlloc(self, size: int, flags: int) -> tuple[Any, ...]:
        return self._answer("cudaHostAlloc", lambda: self._allocate("host", size))

    def cudaPointerGetAttributes(self, ptr: int) -> tuple[Any, ...]:
        kinds = {"device": cudaMemoryType.cudaMemoryTypeDevice, "host": cudaMemoryType.cudaMemoryTypeHost}
        for kind, blocks in self.memory.items():
            for start, block in blocks.items():
                if start <= ptr < start + len(block):
                    found = SimpleNamespace(type=kinds[kind], device=self.devices[start])
                    return self._answer("cudaPointerGetAttributes", found)
        nowhere = SimpleNamespace(type=cudaMemoryType.cudaMemoryTypeUnregistered, device=-2)
        return self._answer("cudaPointerGetAttributes", nowhere)

    def cudaFree(self, devPtr: int) -> tuple[Any, ...]:
        for stream in self.streams.values():  # it waits for the whole device
            stream.run()
        return self._answer("cudaFree") if self.memory["device"].pop(devPtr, None) is not None else (INVALID,)

    def cudaFreeHost(self, ptr: int) -> tuple[Any, ...]:
        return self._answer("cudaFreeHost") if self.memory["host"].pop(ptr, None) is not None else (INVALID,)

    def cudaMemcpyAsync(self, dst: int, src: int, count: int, kind: cudaMemcpyKind, stream: int) -> tuple[Any, ...]:
        upload = kind == cudaMemcpyKind.cudaMemcpyHostToDevice
        source, target = ("host", "device") if upload else ("device", "host")
        if not self.within(source, src, count) or not self.within(target, dst, count):
            return (INVALID,)
        self.stream(stream).put(lambda: ctypes.memmove(dst, src, count))
        return self._answer("cudaMemcpyAsync")

    def cudaStreamCreateWithFlags(self, flags: int) -> tuple[Any, ...]:
        return self._answer("cudaStreamCreateWithFlags", lambda: self._keep(self.streams, Stream()))

    def cudaStreamSynchronize(self, stream: int) -> tuple[Any, ...]:
        if self._capturing():
            return (self._break_captures(),)
        self.stream(stream).run()
        return self._answer("cudaStreamSynchronize")

    def cudaStreamWaitEvent(self, stream: int, event: int, flags: int) -> tuple[Any, ...]:
        recorded = self.events[event]
        if recorded is not None:
            other, position = recorded
            self.stream(stream).put(lambda: other.run(position))
        return self._answer("cudaStreamWaitEvent")

    def cudaStreamDestroy(self, stream: int) -> tuple[Any, ...]:
        return self._answer("cudaStreamDestroy") if self.streams.pop(stream, None) else (INVALID,)

    def cudaEventCreateWithFlags(self, flags: int) -> tuple[Any, ...]:
        return self._answer("cudaEventCreateWithFlags", lambda: self._keep(self.events, None))

    def cudaEventRecord(self, event: int, stream: int) -> tuple[Any, ...]:
        target = self.stream(stream)
        self.events[event] = (target, len(target.work))
        return self._answer("cudaEventRecord")

    def cudaEventSynchronize(self, event: int) -> tuple[Any, ...]:
        if self._capturing():
            return (self._break_captures(),)
        recorded = self.events[event]
        if recorded is not None:
            recorded[0].run(recorded[1])
        return self._answer("cudaEventSynchronize")

    def cudaEventQuery(self, event: int) -> tuple[Any, ...]:
        recorded = self.events[event]
        if recorded is not None and recorded[0].done < recorded[1]:
            return (cudaError_t.cudaErrorNotReady,)
        return self._answer("cudaEventQuery")

    def cudaEventElapsedTime(self, start: int, end: int) -> tuple[Any, ...]:
        first, last = self.events[start], self.events[end]
        if first is None or last is None or first[0].done < first[1] or last[0].done < last[1]:
            return INVALID, None
        return self._answer("cudaEventElapsedTime", 0.25 * (last[1] - first[1]))

    def cudaEventDestroy(self, event: int) -> tuple[Any, ...]:
        known = event in self.events
        self.events.pop(event, None)
        return self._answer("cudaEventDestroy") if known else (INVALID,)

    def cudaStreamBeginCapture(self, stream: int, mode: cudaStreamCaptureMode) -> tuple[Any, ...]:
        target = self.stream(stream)
        target.captured, target.capture_broken, target.capturing_thread = [], False, threading.get_ident()
        return self._answer("cudaStreamBeginCapture")

    def cudaStreamEndCapture(self, stream: int) -> tuple[Any, ...]:
        target = self.stream(stream)
        captured, target.captured = target.captured, None
        if captured is None or target.capture_broken:
            return cudaError_t.cudaErrorStreamCaptureInvalidated, None
        return self._answer("cudaStreamEndCapture", lambda: self._keep(self.graphs, captured))

    def cudaGraphInstantiate(self, graph: int, flags: int) -> tuple[Any, ...]:
        return self._answer("cudaGraphInstantiate", lambda: self._keep(self.executables, self.graphs[graph]))

    def cudaGraphLaunch(self, graphExec: int, stream: int) -> tuple[Any, ...]:
        for work in self.executables[graphExec]:
            self.stream(stream).put(work)
        return self._answer("cudaGraphLaunch")

    def cudaGraphDestroy(self, graph: int) -> tuple[Any, ...]:
        return self._answer("cudaGraphDestroy") if self.graphs.pop(graph, None) is not None else (INVALID,)

    def cudaGraphExecDestroy(self, graphExec: int) -> tuple[Any, ...]:
        known = self.executables.pop(graphExec, None) is not None
        return self._answer("cudaGraphExecDestroy") if known else (INVALID,)

    def _answer(self, function: str, *results: Any) -> tuple[Any, ...]:
        """Return success with the results, those that are functions called; or the failure that a test asked for."""
        self.calls[function] = self.calls.get(function, 0) + 1
        if error := self.failures.pop(function, None):
            return (error, *(None for _ in results))
        return (OK, *(result() if callable(result) else result for result in results))

    def _allocate(self, kind: str, size: int) -> int:
        memory = (ctypes.c_ubyte * size).from_buffer(bytearray(b"\xa5" * size))
        self.memory[kind][ctypes.addressof(memory)] = memory
        self.devices[ctypes.addressof(memory)] = self.device
        return ctypes.addressof(memory)

    def _keep(self, table: dict[int, Any], value: Any) -> int:
        self._next += 1
        table[self._next] = value
        return self._next

    def _capturing(self) -> bool:
        """Tell whether the calling thread captures; other threads are not restricted (thread-local mode)."""
        return any(
            s.captured is not None and s.capturing_thread == threading.get_ident() for s in self.streams.values()
        )

    def _break_captures(self) -> cudaError_t:
        for stream in self.streams.values():
            stream.capture_broken = stream.captured is not None
        return cudaError_t.cudaErrorStreamCaptureUnsupported
