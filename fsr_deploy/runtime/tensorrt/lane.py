"""A lane: what it takes to have one batch on its way through the GPU while others are on theirs."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from fsr_deploy._util.log import warn
from fsr_deploy.errors import InputError
from fsr_deploy.runtime.cuda import api as cuda
from fsr_deploy.runtime.session import OutOfMemory
from fsr_deploy.runtime.tensorrt.engine import Engine, ShapeRange
from fsr_deploy.runtime.tensorrt.library import operation, ran_out_of_memory, said

ATTEMPTS = 3


class Context:
    """An execution context that remembers what it was told: profile, shape and addresses."""

    def __init__(self, engine: Engine, stream: cuda.Stream) -> None:
        self._engine = engine
        self._stream = stream
        self._context = engine.context()
        self._profile = -1
        with operation():
            self._choose(engine.profiles[0])

    def prepare(self, batch: int, profile: ShapeRange, source: int, target: int) -> None:
        """Set profile, batch and the addresses of input and output for the runs that follow."""
        lr, sr = self._engine.input, self._engine.output
        with operation():
            if profile.index != self._profile:
                self._choose(profile)
            self._require(self._context.set_input_shape(lr.name, (batch, *lr.shape)), f"take a batch of {batch}")
            self._require(self._context.set_tensor_address(lr.name, source), "take the input's address")
            self._require(self._context.set_tensor_address(sr.name, target), "take the output's address")

    def run(self) -> None:
        """Put one run into the stream."""
        with operation():
            self._require(self._context.execute_async_v3(self._stream.handle), "run")

    def profile(self, profiler: Any) -> None:
        """Run once while an ``IProfiler`` listens; it has been told every layer's time when this returns."""
        self._context.profiler = profiler
        self.run()
        self._stream.synchronize()

    def close(self) -> None:
        """Wait for the runs in the stream, then free the context and its memory."""
        self._stream.synchronize()
        self._context = None

    def _choose(self, profile: ShapeRange) -> None:
        chosen = self._context.set_optimization_profile_async(profile.index, self._stream.handle)
        self._require(chosen, f"use profile {profile.index}")
        self._profile = profile.index

    def _require(self, success: bool, what: str) -> None:
        if not success:
            message = f"{self._engine.path}: {self._engine.library} could not {what}: {said()}"
            raise (OutOfMemory if ran_out_of_memory() else InputError)(message)


@dataclass
class Graphs:
    """Whether a session's batches are launched as CUDA graphs, and the last reason why one was not.

    A capture can fail for a passing reason, for lack of memory: it is tried again, and given up after ATTEMPTS failures
    in a row, with a warning. That costs speed only.
    """

    wanted: bool
    reason: str = ""
    failures: int = 0

    def failed(self, path: Path, reason: str) -> None:
        """Count a capture that failed."""
        self.reason, self.failures = reason, self.failures + 1
        if self.failures == ATTEMPTS:
            self.wanted = False
            warn(f"{path}: batches are not launched as CUDA graphs, which is slower: {reason}")

    def succeeded(self) -> None:
        """Forget the captures that failed before."""
        self.reason, self.failures = "", 0


class Lane:
    """A stream with its own context, pinned host memory, device memory and graph, for one batch at a time.

    The first run of a batch size is put into the stream call by call (TensorRT has to see each shape once before a
    capture), the second in a row is captured as a CUDA graph, all later ones launch it. Another batch size makes the
    graph invalid: what it captured belongs to the shape that the context had.

    ``lock`` belongs to whoever fills or empties the lane. ``graphs`` are all lanes' of a session.
    """

    def __init__(self, engine: Engine, graphs: Graphs) -> None:
        self.lock = threading.Lock()
        self._engine = engine
        self._graphs = graphs
        self._batch = 0
        self._graph: cuda.Graph | None = None
        self._owned: list[Any] = []
        try:
            self._stream = self._own(cuda.Stream())
            self._done = self._own(cuda.Event())
            self._host_in = self._own(cuda.PinnedArray((engine.max_batch, *engine.input.shape), engine.input.dtype))
            self._host_out = self._own(cuda.PinnedArray((engine.max_batch, *engine.output.shape), engine.output.dtype))
            self._device_in = self._own(cuda.DeviceMemory(engine.max_batch * engine.input.item_bytes))
            self._device_out = self._own(cuda.DeviceMemory(engine.max_batch * engine.output.item_bytes))
            self._context = self._own(Context(engine, self._stream))
        except BaseException:
            self.close()
            raise

    def start(self, batch: NDArray[Any]) -> None:
        """Put upload, computation and download of a batch into the stream; returns at once.

        A batch smaller than its profile's minimum is filled up with what the lane held before; ``finish`` cuts it back.
        """
        profile = self._engine.profile_for(len(batch))
        self._host_in.array[: len(batch)] = batch
        self._launch(max(len(batch), profile.min), profile)
        self._done.record(self._stream.handle)

    def finish(self, count: int) -> NDArray[Any]:
        """Wait for the batch that was started and return a copy of its first ``count`` results."""
        self._done.wait()
        return self._host_out.array[:count].copy()

    def close(self) -> None:
        """Wait for what runs and free everything."""
        self._drop_graph()
        while self._owned:
            self._owned.pop().close()

    def _launch(self, batch: int, profile: ShapeRange) -> None:
        if batch != self._batch:
            self._drop_graph()
            self._batch = 0
            self._context.prepare(batch, profile, self._device_in.address, self._device_out.address)
            self._run(batch)
            self._batch = batch
        elif graph := self._graph or self._capture(batch):
            graph.launch(self._stream)
        else:
            self._run(batch)

    def _capture(self, batch: int) -> cuda.Graph | None:
        """Capture a run as a graph; where that fails, this batch runs without."""
        if self._graphs.wanted:
            try:
                self._graph = cuda.Graph(self._stream, lambda: self._run(batch))
                self._graphs.succeeded()
            except (cuda.CudaError, InputError, OutOfMemory) as error:
                self._graphs.failed(self._engine.path, str(error))
        return self._graph

    def _run(self, batch: int) -> None:
        stream, source, target = self._stream.handle, self._engine.input, self._engine.output
        cuda.upload(self._device_in.address, self._host_in.address, batch * source.item_bytes, stream)
        self._context.run()
        cuda.download(self._host_out.address, self._device_out.address, batch * target.item_bytes, stream)

    def _drop_graph(self) -> None:
        if self._graph is not None:
            self._graph.close()
            self._graph = None

    def _own(self, resource: Any) -> Any:
        self._owned.append(resource)
        return resource
