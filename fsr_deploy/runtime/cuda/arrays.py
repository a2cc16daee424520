"""Results that stay on the GPU: shared with other libraries without a copy, in memory that is reused."""

from __future__ import annotations

import math
import threading
from collections import deque
from typing import Any

import numpy as np

from fsr_deploy.runtime.cuda import api as cuda
from fsr_deploy.runtime.cuda import dlpack
from fsr_deploy.runtime.session import OutOfMemory

LEGACY_STREAM = 1
"""CUDA's explicit name of the default stream; both protocols forbid the ambiguous 0."""
PER_THREAD_STREAM = 2
"""This handle is another stream in each thread, so work in two of them is not ordered."""
MOST_IDLE = 8


class Block:
    """Device memory of one result, written in one stream; ``ready`` marks the place in it."""

    def __init__(self, nbytes: int, stream: int) -> None:
        self.stream = stream
        self.ready = cuda.Event()
        try:
            self.memory = cuda.DeviceMemory(nbytes)
        except BaseException:
            self.ready.close()
            raise

    def close(self) -> None:
        """Free it, which waits for the whole GPU."""
        self.ready.close()
        self.memory.close()


class Blocks:
    """Reuses the memory of dropped results: with cudaMalloc and cudaFree the GPU would wait at every batch. A block is
    reused for a result of the same size in the same stream, so that it comes after all work of its last owner. Results
    may be dropped by any thread, at any time, also after ``close``.
    """

    def __init__(self) -> None:
        self._idle: deque[Block] = deque()
        self._lock = threading.RLock()  # Python may drop a result in this thread while the lock is held
        self._closed = False

    def take(self, nbytes: int, stream: int) -> Block:
        """Return a block of ``nbytes`` for results in a stream; raises OutOfMemory where there is none."""
        with self._lock:
            for block in reversed(tuple(self._idle)):
                if (block.memory.nbytes, block.stream) == (nbytes, stream):
                    self._idle.remove(block)
                    return block
        try:
            return Block(nbytes, stream)
        except OutOfMemory:
            self._free(0)
            return Block(nbytes, stream)

    def give(self, block: Block) -> None:
        """Take a block back; beyond MOST_IDLE, the blocks that were unused longest are freed."""
        with self._lock:
            self._idle.append(block)
            self._free(0 if self._closed else MOST_IDLE)

    def close(self) -> None:
        """Free the idle blocks, and from now on every block that comes back."""
        with self._lock:
            self._closed = True
            self._free(0)

    def _free(self, kept: int) -> None:
        with self._lock:
            while len(self._idle) > kept:
                self._idle.popleft().close()


class DeviceArray:
    """An array in GPU memory, which is returned for reuse when the last reference is dropped. ``stream`` is the handle
    of the stream in which the content is ready; it has to outlive the array. ``ready`` marks the point in that stream.
    """

    def __init__(
        self, shape: tuple[int, ...], dtype: np.dtype[Any], device: int, stream: int, blocks: Blocks | None = None
    ) -> None:
        self.shape, self.dtype, self.device, self.stream = shape, dtype, device, stream
        self._blocks = blocks
        self._read_elsewhere = False
        self._block = (blocks or Blocks()).take(math.prod(shape) * dtype.itemsize, stream)
        self.memory, self.ready = self._block.memory, self._block.ready

    def __del__(self) -> None:
        if not hasattr(self, "_block"):  # the allocation failed
            return
        if self._blocks is None or self._read_elsewhere or self.stream == PER_THREAD_STREAM:
            self._block.close()  # waits for readers in other streams too
        else:
            self._blocks.give(self._block)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        self._read_elsewhere = True  # the protocol does not say in which stream
        return {
            "shape": self.shape,
            "typestr": self.dtype.str,
            "data": (self.memory.address, False),
            "strides": None,
            "stream": self.stream,
            "version": 3,
        }

    def __dlpack_device__(self) -> tuple[int, int]:
        return dlpack.CUDA, self.device

    def __dlpack__(self, *, stream: int | None = None, **_: Any) -> Any:
        """Return a DLPack capsule; the consumer's stream waits until the content is ready (-1: it does not want to)."""
        reader = stream or LEGACY_STREAM
        if reader != self.stream:
            self._read_elsewhere = True
        if reader != -1:
            cuda.wait_in(reader, self.ready)
        return dlpack.give(self, self.memory.address, self.device)
