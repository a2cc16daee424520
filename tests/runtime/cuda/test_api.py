"""Our wrappers against the real CUDA binding; where there is no driver, it answers every call with an error."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from fsr_deploy.errors import ExitCode, MissingError
from fsr_deploy.runtime.cuda import api as cuda
from fsr_deploy.runtime.cuda import driver
from fsr_deploy.runtime.session import OutOfMemory
from tests.fakes.cuda import cudaError_t
from tests.fakes.machine import Machine, MachineFactory

pytestmark = pytest.mark.filterwarnings("error")
no_driver = pytest.mark.skipif(driver.has_gpu(), reason="a driver is there")


class AnEvent(cuda.Event):
    """An event that was never made."""

    def __init__(self) -> None:
        self._event = 0


class AStream(cuda.Stream):
    """A stream that was never made."""

    def __init__(self) -> None:
        self._stream, self.handle = 0, 0


@no_driver
@pytest.mark.parametrize(
    "call",
    [
        lambda: cuda.use_device(0),
        cuda.memory,
        cuda.Event,
        lambda: cuda.Event(timing=True),
        cuda.Stream,
        lambda: cuda.DeviceMemory(16),
        lambda: cuda.PinnedArray((2, 3), np.dtype(np.uint8)),
        lambda: cuda.upload(1, 2, 3, 4),
        lambda: cuda.download(1, 2, 3, 4),
        lambda: cuda.wait_in(1, AnEvent()),
        lambda: AnEvent().record(1),
        lambda: AnEvent().wait(),
        lambda: AnEvent().reached(),
        lambda: cuda.place_of(1),
        lambda: AnEvent().milliseconds_since(AnEvent()),
        lambda: AnEvent().close(),
        lambda: AStream().synchronize(),
        lambda: AStream().close(),
        lambda: cuda.Graph(AStream(), lambda: None),
        lambda: cuda.call("cudaStreamEndCapture", 0),
        lambda: cuda.call("cudaGraphInstantiate", 0, 0),
        lambda: cuda.call("cudaGraphLaunch", 0, 0),
        lambda: cuda.call("cudaGraphDestroy", 0),
        lambda: cuda.call("cudaGraphExecDestroy", 0),
        lambda: cuda.call("cudaFree", 0),
        lambda: cuda.call("cudaFreeHost", 0),
    ],
)
def test_the_real_binding_takes_our_arguments_and_its_refusal_is_reported(call: Callable[[], object]) -> None:
    """Wrong names, numbers or types of arguments would raise TypeError or AttributeError instead."""
    with pytest.raises(cuda.CudaError, match="driver version is insufficient") as caught:
        call()
    assert caught.value.exit_code == ExitCode.MISSING and isinstance(caught.value, MissingError)


def test_the_errors_that_mean_something_lacks_are_those_of_the_real_binding() -> None:
    assert set(cuda.LACKING) <= set(cuda.runtime().cudaError_t.__members__)


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        ("cudaErrorIllegalAddress", cuda.CudaError, ExitCode.FAILED),
        ("cudaErrorInsufficientDriver", cuda.CudaMissing, ExitCode.MISSING),
        ("cudaErrorMemoryAllocation", OutOfMemory, None),
    ],
)
def test_an_error_is_of_the_kind_that_it_is(
    machine: MachineFactory, error: str, kind: type[Exception], code: ExitCode | None
) -> None:
    machine().cuda.failures["cudaMemGetInfo"] = cudaError_t[error]
    with pytest.raises(kind, match=f"cudaMemGetInfo: .*{error}") as caught:
        cuda.memory()
    assert getattr(caught.value, "exit_code", None) == code
    assert isinstance(caught.value, MissingError) == (code == ExitCode.MISSING)


def test_an_event_tells_whether_it_is_reached_without_waiting(machine: MachineFactory) -> None:
    machine()
    stream, event = cuda.Stream(), cuda.Event()
    assert event.reached(), "nothing was recorded"
    host, device = cuda.PinnedArray((4,), np.dtype(np.uint8)), cuda.DeviceMemory(4)
    cuda.upload(device.address, host.address, 4, stream.handle)
    event.record(stream.handle)
    assert not event.reached()
    stream.synchronize()
    assert event.reached()


def test_a_failed_capture_leaves_the_stream_usable(machine: MachineFactory) -> None:
    gpu: Machine = machine()
    stream = cuda.Stream()

    def work() -> None:
        raise ValueError("not today")

    with pytest.raises(ValueError, match="not today"):
        cuda.Graph(stream, work)
    assert not gpu.cuda.graphs
    cuda.Graph(stream, lambda: None).launch(stream)


def test_closing_twice_frees_once(machine: MachineFactory) -> None:
    machine()
    memory = cuda.DeviceMemory(8)
    memory.close()
    memory.close()


def test_time_between_two_events_is_measured(machine: MachineFactory) -> None:
    machine()
    stream, start, end = cuda.Stream(), cuda.Event(timing=True), cuda.Event(timing=True)
    start.record(stream.handle)
    end.record(stream.handle)
    stream.synchronize()
    assert end.milliseconds_since(start) >= 0


def test_an_error_is_not_reported_twice(machine: MachineFactory) -> None:
    gpu = machine()
    gpu.cuda.failures["cudaMemGetInfo"] = cudaError_t.cudaErrorIllegalAddress
    with pytest.raises(cuda.CudaError, match="cudaMemGetInfo: illegaladdress"):
        cuda.memory()
    assert cuda.memory() == (gpu.cuda.total, gpu.cuda.total)
