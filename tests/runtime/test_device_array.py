from __future__ import annotations

import gc
from typing import Any

import numpy as np
import pytest

from fsr_deploy.errors import InputError
from fsr_deploy.runtime import cuda, device_array
from fsr_deploy.runtime.device_array import DeviceArray, view
from tests.fakes.machine import Machine, MachineFactory

CPU = 1


@pytest.fixture
def gpu(machine: MachineFactory) -> Machine:
    return machine("10.16")


@pytest.fixture
def host_speaks_dlpack(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let NumPy, whose DLPack is the CPU's, stand for a library on the GPU: the structures are the same."""
    monkeypatch.setattr(device_array, "DLPACK_CUDA", CPU)


class Producer:
    """A NumPy array that speaks DLPack only, as JAX's do."""

    def __init__(self, array: Any) -> None:
        self.array, self.streams = array, []

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.array.__dlpack_device__()

    def __dlpack__(self, stream: int | None = None) -> Any:
        self.streams.append(stream)
        return self.array.__dlpack__()


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float16])
def test_a_dlpack_array_is_found_where_it_lies(host_speaks_dlpack: None, dtype: type) -> None:
    array = np.arange(2 * 4 * 4 * 3).reshape(2, 4, 4, 3).astype(dtype)
    producer = Producer(array)
    found = view(producer, stream=5, device=0)
    assert (found.address, found.shape, found.dtype) == (array.ctypes.data, (2, 4, 4, 3), np.dtype(dtype))
    assert producer.streams == [5], "the producer has to know which stream will read"


def test_a_dlpack_array_of_other_strides_is_refused(host_speaks_dlpack: None) -> None:
    with pytest.raises(InputError, match="not C-contiguous"):
        view(Producer(np.zeros((4, 6), np.uint8)[:, ::2]), stream=1, device=0)


def test_a_dlpack_array_stays_alive_as_long_as_its_view(host_speaks_dlpack: None) -> None:
    found = view(Producer(np.full((1000,), 7, np.uint8)), stream=1, device=0)
    gc.collect()
    reread = np.ctypeslib.as_array((np.ctypeslib.ctypes.c_ubyte * 1000).from_address(found.address))
    assert (reread == 7).all()


def test_an_array_on_another_device_is_refused() -> None:
    with pytest.raises(InputError, match="not an array on cuda:0"):
        view(Producer(np.zeros(3, np.uint8)), stream=1, device=0)


def filled(gpu: Machine, dtype: Any = np.uint8) -> DeviceArray:
    array = DeviceArray((2, 3, 3, 3), np.dtype(dtype), device=0, stream=1)
    memory = np.asarray(gpu.cuda.memory["device"][array.memory.address]).view(dtype)
    memory[:] = np.arange(54)
    return array


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_a_consumer_of_dlpack_sees_the_same_memory(gpu: Machine, host_speaks_dlpack: None, dtype: Any) -> None:
    array = filled(gpu, dtype)
    seen = np.from_dlpack(array)
    assert seen.dtype == dtype and np.array_equal(seen.reshape(-1), np.arange(54))
    assert seen.ctypes.data == array.memory.address


def test_the_memory_lives_as_long_as_its_consumer(gpu: Machine, host_speaks_dlpack: None) -> None:
    seen = np.from_dlpack(filled(gpu))
    gc.collect()
    assert gpu.cuda.used == 54
    del seen
    gc.collect()
    assert gpu.cuda.used == 0


def test_a_capsule_that_nobody_consumes_frees_the_memory_too(gpu: Machine, host_speaks_dlpack: None) -> None:
    capsule = filled(gpu).__dlpack__()
    gc.collect()
    assert gpu.cuda.used == 54
    del capsule
    gc.collect()
    assert gpu.cuda.used == 0 and gpu.cuda.live == 0


def test_the_consumers_stream_waits_until_the_content_is_ready(gpu: Machine) -> None:
    producer, consumer = cuda.Stream(), cuda.Stream()
    array = DeviceArray((1,), np.dtype(np.uint8), device=0, stream=producer.handle)
    done: list[str] = []
    gpu.cuda.stream(producer.handle).put(lambda: done.append("produced"))
    array.ready.record(producer.handle)
    array.__dlpack__(stream=consumer.handle)
    gpu.cuda.stream(consumer.handle).put(lambda: done.append("consumed"))
    gpu.cuda.stream(consumer.handle).run()
    assert done == ["produced", "consumed"]


def test_the_cuda_array_interface_names_address_and_stream(gpu: Machine) -> None:
    array = filled(gpu)
    interface = array.__cuda_array_interface__
    assert interface["data"] == (array.memory.address, False)
    assert (interface["shape"], interface["typestr"], interface["stream"]) == ((2, 3, 3, 3), "|u1", 1)
    found = view(array, stream=1, device=0)
    assert found.address == array.memory.address and found.owner is array
