"""Results on the GPU: what other libraries see of them, and what becomes of their memory."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
import pytest

from fsr_deploy.runtime.cuda import api as cuda
from fsr_deploy.runtime.cuda import dlpack
from fsr_deploy.runtime.cuda.arrays import MOST_IDLE, PER_THREAD_STREAM, Blocks, DeviceArray
from fsr_deploy.runtime.session import OutOfMemory
from tests.fakes.machine import Machine, MachineFactory

CPU = 1


@pytest.fixture
def gpu(machine: MachineFactory) -> Machine:
    return machine("10.16")


@pytest.fixture
def host_speaks_dlpack(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let NumPy, whose DLPack is the CPU's, stand for a library on the GPU: the structures are the same."""
    monkeypatch.setattr(dlpack, "CUDA", CPU)


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


def test_a_dropped_result_lends_its_memory_to_the_next_in_its_stream(gpu: Machine) -> None:
    blocks = Blocks()
    first = result(blocks)
    address = first.memory.address
    assert result(blocks).memory.address != address, "two results that live"
    del first
    assert result(blocks).memory.address == address
    mallocs = gpu.cuda.calls["cudaMalloc"]
    for _ in range(20):
        result(blocks)
    assert gpu.cuda.calls["cudaMalloc"] == mallocs and "cudaFree" not in gpu.cuda.calls


def test_memory_is_not_lent_to_another_stream_or_size(gpu: Machine) -> None:
    blocks = Blocks()
    first = result(blocks)
    address = first.memory.address
    del first
    assert result(blocks, stream=cuda.Stream().handle).memory.address != address
    assert result(blocks, count=3).memory.address != address


@pytest.mark.parametrize("reader", ["an interface that names no reader", "a consumer in another stream", "any thread"])
def test_memory_that_somebody_may_still_read_elsewhere_is_freed_which_waits(
    gpu: Machine, host_speaks_dlpack: None, reader: str
) -> None:
    blocks, stream = Blocks(), PER_THREAD_STREAM if reader == "any thread" else 1
    array = result(blocks, stream=stream)
    address = array.memory.address
    if reader == "an interface that names no reader":
        assert array.__cuda_array_interface__["data"][0] == address
    elif reader == "a consumer in another stream":
        array.__dlpack__(stream=cuda.Stream().handle)
    del array
    gc.collect()
    assert gpu.cuda.calls["cudaFree"] == 1 and gpu.cuda.used == 0


def test_a_consumer_in_the_same_stream_lets_the_memory_be_used_again(gpu: Machine, host_speaks_dlpack: None) -> None:
    blocks = Blocks()
    array = result(blocks)
    array.__dlpack__(stream=1)
    del array
    gc.collect()
    assert "cudaFree" not in gpu.cuda.calls


def test_no_more_is_kept_than_a_few_blocks_and_none_once_the_session_is_closed(gpu: Machine) -> None:
    blocks = Blocks()
    results = [result(blocks) for _ in range(MOST_IDLE + 5)]
    late = results.pop()
    results.clear()
    assert len(gpu.cuda.memory["device"]) == MOST_IDLE + 1
    blocks.close()
    assert len(gpu.cuda.memory["device"]) == 1
    del late
    assert gpu.cuda.live == 0


def test_idle_memory_is_given_back_before_there_is_none(gpu: Machine) -> None:
    blocks = Blocks()
    result(blocks, count=4)
    gpu.cuda.total = gpu.cuda.used
    assert result(blocks, count=3).shape[0] == 3


def test_a_result_that_does_not_fit_leaves_nothing_behind(gpu: Machine) -> None:
    gpu.cuda.total = 8
    with pytest.raises(OutOfMemory):
        result(Blocks())
    gc.collect()
    assert gpu.cuda.live == 0


def result(blocks: Blocks, count: int = 2, stream: int = 1) -> DeviceArray:
    return DeviceArray((count, 3, 3, 3), np.dtype(np.uint8), 0, stream, blocks)
