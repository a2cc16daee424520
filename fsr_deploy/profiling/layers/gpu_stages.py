"""A plan's upload, computation and download, timed separately by CUDA events."""

from __future__ import annotations

from contextlib import ExitStack, closing
from dataclasses import dataclass

import numpy as np

from fsr_deploy.profiling.statistics import Estimate, typical
from fsr_deploy.runtime.cuda import api as cuda
from fsr_deploy.runtime.cuda.arrays import DeviceArray
from fsr_deploy.runtime.tensorrt.session import TensorRTSession

COPIES = 8  # timed together, because a single one is near an event's resolution
RUNS_PER_VISIT = 5


@dataclass(frozen=True)
class StageTimes:
    """Milliseconds per batch on the GPU, without the CPU's time to launch it and without a CUDA graph."""

    batch: int
    upload: Estimate
    compute: Estimate
    download: Estimate


class StageWatch:
    """Runs a plan at every visit of one batch size, with an event between its stages."""

    def __init__(self, session: TensorRTSession, batch_size: int) -> None:
        info = session.info
        device = int(info.device.removeprefix("cuda:"))
        cuda.use_device(device)
        self._session, self._batch = session, batch_size
        self._passes: list[list[tuple[float, float, float]]] = []
        with ExitStack() as stack:
            self._stream = stack.enter_context(closing(cuda.Stream()))
            self._events = [stack.enter_context(closing(cuda.Event(timing=True))) for _ in range(5)]
            shapes = [(batch_size, *side, 3) for side in (info.lr_shape, info.sr_shape)]
            self._host = [stack.enter_context(closing(cuda.PinnedArray(s, np.dtype(np.uint8)))) for s in shapes]
            self._faces, self._result = (
                DeviceArray(s, np.dtype(np.uint8), device, self._stream.handle) for s in shapes
            )
            self._owned = stack.pop_all()

    def visit(self, batch: int) -> None:
        """Run a few times if this is the batch size."""
        if batch == self._batch:
            self._passes.append([self._run() for _ in range(RUNS_PER_VISIT)])

    def finish(self) -> StageTimes | None:
        """Free what was used and return the times, None where the batch size was never visited."""
        self._owned.close()
        if not self._passes:
            return None
        upload, compute, download = (typical([[run[i] for run in part] for part in self._passes]) for i in range(3))
        return StageTimes(self._batch, upload, compute, download)

    def _run(self) -> tuple[float, float, float]:
        """Return the milliseconds of each stage.

        The first of two runs keeps the GPU busy while the second is launched, so that only the GPU's time counts.
        """
        (lr, sr), stream, marks = self._host, self._stream.handle, self._events
        marks[0].record(stream)
        for _ in range(COPIES):
            cuda.upload(self._faces.memory.address, lr.address, lr.array.nbytes, stream)
        marks[1].record(stream)
        self._session.upscale_on_device(self._faces, stream, self._result)
        marks[2].record(stream)
        self._session.upscale_on_device(self._faces, stream, self._result)
        marks[3].record(stream)
        for _ in range(COPIES):
            cuda.download(sr.address, self._result.memory.address, sr.array.nbytes, stream)
        marks[4].record(stream)
        marks[4].wait()
        copies = (marks[1].milliseconds_since(marks[0]), marks[4].milliseconds_since(marks[3]))
        return copies[0] / COPIES, marks[3].milliseconds_since(marks[2]), copies[1] / COPIES
