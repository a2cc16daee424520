"""The time of each layer of a plan, as TensorRT's own profiler reports it."""

from __future__ import annotations

from contextlib import ExitStack, closing
from typing import Any

from numpy.typing import NDArray

from fsr_deploy.runtime.cuda import api as cuda
from fsr_deploy.runtime.tensorrt.engine import Engine
from fsr_deploy.runtime.tensorrt.flavour import Flavour
from fsr_deploy.runtime.tensorrt.lane import Context
from fsr_deploy.runtime.tensorrt.library import load


def layer_times(engine: Engine, batch: NDArray[Any]) -> list[tuple[str, float]]:
    """Run one batch and return (layer name, seconds) in the order of execution.

    The layers run one after the other here, each measured: their sum is more than a batch takes otherwise. All that the
    run needs is made for it, so that a session's lanes and graphs stay as they are.
    """
    profile = engine.profile_for(len(batch))
    count = max(len(batch), profile.min)
    with ExitStack() as stack:
        stream = stack.enter_context(closing(cuda.Stream()))
        host = stack.enter_context(closing(cuda.PinnedArray((count, *engine.input.shape), engine.input.dtype)))
        source = stack.enter_context(closing(cuda.DeviceMemory(count * engine.input.item_bytes)))
        target = stack.enter_context(closing(cuda.DeviceMemory(count * engine.output.item_bytes)))
        context = stack.enter_context(closing(Context(engine, stream)))
        host.array[: len(batch)] = batch
        cuda.upload(source.address, host.address, source.nbytes, stream.handle)
        context.prepare(count, profile, source.address, target.address)
        context.run()  # the first run of a shape pays for more than its layers
        stream.synchronize()
        profiler = _profiler(engine.flavour)
        context.profile(profiler)
        return profiler.times


def _profiler(flavour: Flavour) -> Any:
    trt = load(flavour)

    class Profiler(trt.IProfiler):  # type: ignore[name-defined]
        def __init__(self) -> None:
            trt.IProfiler.__init__(self)
            self.times: list[tuple[str, float]] = []

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            self.times.append((layer_name, ms / 1e3))

    return Profiler()
