"""A TensorRT plan behind the Session protocol: one code path from TensorRT 8.6 to 11, and TensorRT for RTX."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from numpy.typing import NDArray

from fsr_deploy.bundle.engine_file import EngineFile
from fsr_deploy.bundle.info import NOT_PROVEN, ONNX_NAME, PLAN_NAME
from fsr_deploy.errors import InputError, MissingError
from fsr_deploy.runtime.cuda import api as cuda
from fsr_deploy.runtime.cuda.arrays import LEGACY_STREAM
from fsr_deploy.runtime.cuda.driver import Gpu, find_gpu
from fsr_deploy.runtime.session import Batch, EngineInfo, OutOfMemory
from fsr_deploy.runtime.tensorrt.engine import Engine
from fsr_deploy.runtime.tensorrt.flavour import RTX, flavour_of_plan
from fsr_deploy.runtime.tensorrt.lane import Graphs, Lane
from fsr_deploy.runtime.tensorrt.layer_times import layer_times
from fsr_deploy.runtime.tensorrt.library import load
from fsr_deploy.runtime.tensorrt.on_device import OnDevice
from fsr_deploy.runtime.tensorrt.preflight import PlanHost, check_file, check_machine, this_platform

IN_FLIGHT = 2
RTX_IN_FLIGHT = 1  # a context of TensorRT for RTX was reported to need 1.4 GiB of the host's memory


class PendingFaces:
    """A batch on its way through the GPU."""

    def __init__(self, lane: Lane, count: int) -> None:
        self._lane = lane
        self._count = count
        self._faces: NDArray[Any] | None = None

    def result(self) -> NDArray[Any]:
        """Wait for the GPU and return the SR faces; may be called from any thread, and again."""
        if self._faces is not None:
            return self._faces
        with self._lane.lock:
            return self.collect()

    def collect(self) -> NDArray[Any]:
        """Do ``result`` for a caller that holds the lane's lock."""
        if self._faces is None:
            self._faces = self._lane.finish(self._count)
        return self._faces


class TensorRTSession:
    """A plan loaded on a GPU, with up to ``in_flight`` batches on their way at once (None: 2, TensorRT for RTX 1).

    ``device`` is "auto" or "cuda:N". ``trust`` allows plans that come without a bundle or carry host code. ``graphs``
    launches each batch as one CUDA graph. Threads: any may call any method, but batches run in the order of their
    ``submit``, so let one thread submit; ``result`` may be called from another meanwhile.

    Raises InputError for a plan that cannot run here, before TensorRT sees it where that can be known, and MissingError
    without a GPU, TensorRT or cuda-bindings, or where the plan does not fit into the GPU's memory.
    """

    def __init__(
        self,
        file: EngineFile,
        device: str = "auto",
        *,
        trust: bool = False,
        in_flight: int | None = None,
        graphs: bool = True,
    ) -> None:
        check_file(file, trust=trust)
        self._device = 0 if device == "auto" else int(device.removeprefix("cuda:"))
        gpu = _gpu_for(file, self._device)
        flavour = flavour_of_plan(file.content)
        notes = check_machine(file, PlanHost(load(flavour).__version__, gpu, this_platform()))
        cuda.use_device(self._device)
        rtx = flavour == RTX
        self._graphs = Graphs(graphs and not rtx)  # TensorRT for RTX makes its own
        try:
            self._engine = Engine(file, gpu.sm, graphs=graphs)
            wanted = in_flight or (RTX_IN_FLIGHT if rtx else IN_FLIGHT)
            self._lanes, fewer = _lanes(self._engine, wanted, self._graphs)
        except OutOfMemory as error:
            raise MissingError(
                f"{file.path}: does not fit into the memory of {gpu.name}{_memory()}: {error}"
            ) from error
        self._pending: list[PendingFaces | None] = [None] * len(self._lanes)
        self._turns: Iterator[int] = itertools.cycle(range(len(self._lanes)))
        self._submitting = threading.Lock()
        self._on_device: OnDevice | None = None
        if file.bundle and file.bundle.plan and not file.bundle.plan.proven:
            notes += (f"{PLAN_NAME} is {NOT_PROVEN}",)
        notes += tuple(f"{self._engine.flavour.title} warns of this plan: {line}" for line in self._engine.warnings)
        self.info = _info(file, self._engine, gpu, notes + fewer)

    @property
    def in_flight(self) -> int:
        """How many batches can be on their way at once."""
        return len(self._lanes)

    @property
    def graph_failure(self) -> str:
        """Why batches are not launched as CUDA graphs; "" where they are or need not be."""
        return self._graphs.reason

    def upscale(self, batch: Batch) -> Batch:
        """Turn (N, h, w, 3) uint8 RGB LR faces into (N, H, W, 3) uint8 RGB SR faces."""
        return self.submit(batch).result()

    def submit(self, batch: NDArray[Any]) -> PendingFaces:
        """Start a batch of LR faces, shaped like ``upscale``'s; returns as soon as it is on its way.

        ``batch`` may be changed afterwards. With ``in_flight`` batches under way, the oldest is waited for first. An
        engine exported with ``--io float`` takes and gives (N, 3, H, W) floats in [-1, 1] here.
        """
        self._engine.check_input(batch.shape, batch.dtype)
        with self._submitting, self._current_device():
            turn = next(self._turns)
            lane, previous = self._lanes[turn], self._pending[turn]
            with lane.lock:
                if previous is not None:
                    previous.collect()
                    self._pending[turn] = None
                lane.start(batch)
                self._pending[turn] = pending = PendingFaces(lane, len(batch))
        return pending

    def upscale_on_device(self, faces: Any, stream: int = LEGACY_STREAM, out: Any = None) -> Any:
        """Upscale faces that lie on this GPU; the SR faces stay there, and nothing waits for the GPU.

        ``faces`` is any array with ``__cuda_array_interface__`` or DLPack, C-contiguous, shaped as in ``submit``, of at
        least the plan's smallest batch. ``stream`` is the handle of the caller's CUDA stream: the work comes after what
        it holds, and what is put into it afterwards finds the result. Returns ``out``, an array of the same kinds that
        takes the SR faces, or without one a new DeviceArray, which speaks both protocols too. Its memory is used again
        for later results in this stream once it is dropped: have the stream wait for what reads it in another.
        """
        with self._submitting, self._current_device():
            if self._on_device is None:
                self._on_device = OnDevice(self._engine, self._device)
            return self._on_device.upscale(faces, stream or LEGACY_STREAM, out)

    def layer_times(self, batch: NDArray[Any]) -> list[tuple[str, float]]:
        """Run a batch, shaped as in ``submit``, and return (layer name, seconds) in the order of execution."""
        self._engine.check_input(batch.shape, batch.dtype)
        with self._submitting, self._current_device():
            return layer_times(self._engine, batch)

    def inspect(self) -> list[Any]:
        """Return TensorRT's description of each of the plan's layers."""
        return self._engine.inspect()

    def close(self) -> None:
        """Finish what is under way and free everything on the GPU; results that were not fetched stay available."""
        with self._submitting, self._current_device():
            for pending in self._pending:
                if pending is not None:
                    pending.result()
            if self._on_device is not None:
                self._on_device.close()
            for lane in self._lanes:
                lane.close()
            self._pending, self._lanes = [], []
            self._engine.close()

    @contextmanager
    def _current_device(self) -> Iterator[None]:
        """Make the session's GPU current in this thread, and refuse a session that is closed."""
        if not self._lanes:
            raise RuntimeError("the session is closed")
        cuda.use_device(self._device)
        yield


def _gpu_for(file: EngineFile, index: int) -> Gpu:
    try:
        return find_gpu(index)
    except MissingError as error:
        raise MissingError(f"{file.path}: {error}; --device cpu runs a bundle's {ONNX_NAME}") from error


def _lanes(engine: Engine, wanted: int, graphs: Graphs) -> tuple[list[Lane], tuple[str, ...]]:
    """Return up to ``wanted`` lanes and why there are fewer; the first has to be, the others where they fit.

    A plan of TensorRT 8 that was built without profile sharing refuses a second context its profile.
    """
    lanes = [Lane(engine, graphs)]
    while len(lanes) < wanted:
        try:
            lanes.append(Lane(engine, graphs))
        except (OutOfMemory, InputError) as error:
            return lanes, (f"runs {len(lanes)} instead of {wanted} batches at once: {error}",)
    return lanes, ()


def _memory() -> str:
    free, total = cuda.memory()
    return f" ({free / 2**30:.1f} of {total / 2**30:.1f} GiB free)"


def _info(file: EngineFile, engine: Engine, gpu: Gpu, notes: tuple[str, ...]) -> EngineInfo:
    bundle = file.bundle
    lr_shape, sr_shape = (_face_shape(tensor.shape) for tensor in (engine.input, engine.output))
    return EngineInfo(
        engine=f"{engine.library} ({gpu.name})",
        device=f"cuda:{gpu.index}",
        precision=bundle.precision if bundle else "unknown",
        sha256=file.sha256,
        lr_shape=lr_shape,
        sr_shape=sr_shape,
        best_batch=max(profile.opt for profile in engine.profiles),
        max_batch=engine.max_batch,
        trained=bundle.trained if bundle else None,
        notes=(bundle.notes if bundle else ()) + notes,
        resizable=bundle.resizable if bundle else None,
        template=bundle.template if bundle else None,
    )


def _face_shape(item: tuple[int, ...]) -> tuple[int, int]:
    """Return (height, width) of one item: (h, w, 3) of faces, (3, H, W) of floats."""
    height, width = item[:2] if item[-1] == 3 else item[1:]
    return height, width
