"""Arrays of other libraries, found where they lie or refused: NumPy's stand for them, in the stand-in GPU's memory."""

from __future__ import annotations

import ctypes
import gc
from typing import Any

import numpy as np
import pytest

from fsr_deploy.errors import InputError
from fsr_deploy.runtime.cuda import api as cuda
from fsr_deploy.runtime.cuda import dlpack
from fsr_deploy.runtime.cuda.arrays import LEGACY_STREAM, DeviceArray
from fsr_deploy.runtime.cuda.foreign_array import view
from tests.fakes.machine import Machine, MachineFactory

CPU = 1  # the device of NumPy's DLPack; the structures are the same


@pytest.fixture
def gpu(machine: MachineFactory, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setattr(dlpack, "CUDA", CPU)
    return machine("10.16", count=2)


def on_gpu(gpu: Machine, content: Any, device: int = 0) -> Any:
    """Return a NumPy array in the stand-in GPU's memory."""
    cuda.use_device(device)
    _, address = gpu.cuda.cudaMalloc(content.nbytes)
    array = np.asarray(gpu.cuda.memory["device"][address]).view(content.dtype).reshape(content.shape)
    array[...] = content
    return array


class Producer:
    """An array that speaks DLPack only, as JAX's do: of version 1 if ``versioned``, or of the first version."""

    def __init__(self, array: Any, *, versioned: bool = False) -> None:
        self.array, self.streams = array, []
        if versioned:
            self.__class__ = type("Producer", (Producer,), {"__dlpack__": Producer.give_versioned})

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.array.__dlpack_device__()

    def __dlpack__(self, stream: int | None = None) -> Any:
        self.streams.append(stream)
        return self.array.__dlpack__()

    def give_versioned(self, *, stream: int | None = None, max_version: tuple[int, int] | None = None) -> Any:
        self.streams.append(stream)
        return self.array.__dlpack__(max_version=max_version)


class Interface:
    """An array that speaks ``__cuda_array_interface__`` only."""

    def __init__(self, array: Any, **changes: Any) -> None:
        self.array = array
        data = (array.ctypes.data, not array.flags.writeable)
        typestr = array.dtype.str
        self.__cuda_array_interface__ = {
            "shape": array.shape,
            "typestr": typestr,
            "data": data,
            "version": 3,
            **changes,
        }


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float16])
@pytest.mark.parametrize("versioned", [False, True])
def test_a_dlpack_array_is_found_where_it_lies(gpu: Machine, dtype: type, versioned: bool) -> None:
    array = on_gpu(gpu, np.arange(2 * 4 * 4 * 3).reshape(2, 4, 4, 3).astype(dtype))
    producer = Producer(array, versioned=versioned)
    found = view(producer, stream=5, device=0)
    assert (found.address, found.shape, found.dtype) == (array.ctypes.data, (2, 4, 4, 3), np.dtype(dtype))
    assert producer.streams == [5], "the producer has to know which stream will read"


@pytest.mark.parametrize("versioned", [False, True])
def test_an_array_of_other_strides_is_refused(gpu: Machine, versioned: bool) -> None:
    array = on_gpu(gpu, np.zeros((4, 6), np.uint8))[:, ::2]
    for foreign in (Producer(array, versioned=versioned), Interface(array, strides=array.strides)):
        with pytest.raises(InputError, match="not C-contiguous"):
            view(foreign, stream=1, device=0)


@pytest.mark.parametrize("versioned", [False, True])
def test_a_dlpack_array_stays_alive_as_long_as_its_view(gpu: Machine, versioned: bool) -> None:
    found = view(Producer(on_gpu(gpu, np.full((1000,), 7, np.uint8)), versioned=versioned), stream=1, device=0)
    gc.collect()
    reread = np.ctypeslib.as_array((ctypes.c_ubyte * 1000).from_address(found.address))
    assert (reread == 7).all()


@pytest.mark.parametrize("kind", [Producer, Interface])
def test_an_array_on_another_gpu_is_refused_whatever_it_says(gpu: Machine, kind: Any) -> None:
    array = kind(on_gpu(gpu, np.zeros(48, np.uint8), device=1))
    with pytest.raises(InputError, match=rf"^{kind.__name__}: an array on cuda:1, this engine runs on cuda:0; copy it"):
        view(array, stream=1, device=0)
    assert view(array, stream=1, device=1).shape == (48,)


@pytest.mark.parametrize("kind", [Producer, Interface])
@pytest.mark.parametrize("pinned", [False, True])
def test_an_array_of_the_host_is_refused_whatever_it_says(gpu: Machine, kind: Any, pinned: bool) -> None:
    array = cuda.PinnedArray((48,), np.dtype(np.uint8)).array if pinned else np.zeros(48, np.uint8)
    with pytest.raises(InputError, match=r"an array in the host's memory, this engine runs on cuda:0"):
        view(kind(array), stream=1, device=0)


@pytest.mark.parametrize("array", [[1, 2], np.zeros(3, np.uint8), None])
def test_what_speaks_neither_protocol_on_a_gpu_is_no_array_on_it(machine: MachineFactory, array: Any) -> None:
    machine("10.16")
    with pytest.raises(InputError, match=rf"^{type(array).__name__}: not an array on cuda:0"):
        view(array, stream=1, device=0)


def test_an_array_that_is_read_only_is_known_as_such(gpu: Machine) -> None:
    array = on_gpu(gpu, np.zeros(48, np.uint8))
    assert not view(Producer(array, versioned=True), 1, 0).read_only and not view(Interface(array), 1, 0).read_only
    array.flags.writeable = False
    assert view(Producer(array, versioned=True), 1, 0).read_only and view(Interface(array), 1, 0).read_only


def test_a_library_that_does_not_give_its_array_is_quoted(gpu: Machine) -> None:
    array = on_gpu(gpu, np.zeros(48, np.uint8))
    array.flags.writeable = False  # which NumPy can say from DLPack 1.0 on only
    with pytest.raises(InputError, match=r"^Producer: its library does not give it by DLPack: .*readonly"):
        view(Producer(array), stream=1, device=0)


@pytest.mark.parametrize("dtype", ["complex64", "bool"])
def test_a_type_that_no_engine_takes_is_refused(gpu: Machine, dtype: str) -> None:
    with pytest.raises(InputError, match="of a type that no engine takes"):
        view(Producer(on_gpu(gpu, np.zeros(48, dtype))), stream=1, device=0)


@pytest.mark.parametrize(("stream", "known"), [(None, None), (0, LEGACY_STREAM), (1, 1), (77, 77)])
def test_the_stream_in_which_an_array_is_ready_is_known(gpu: Machine, stream: int | None, known: int | None) -> None:
    array = Interface(on_gpu(gpu, np.zeros(48, np.uint8)), stream=stream)
    assert view(array, stream=1, device=0).stream == known


def test_a_masked_array_is_refused(gpu: Machine) -> None:
    with pytest.raises(InputError, match="Interface: a masked array"):
        view(Interface(on_gpu(gpu, np.zeros(48, np.uint8)), mask=object()), stream=1, device=0)


def test_our_own_results_are_taken_too(gpu: Machine) -> None:
    array = DeviceArray((2, 3, 3, 3), np.dtype(np.uint8), device=0, stream=1)
    found = view(array, stream=1, device=0)
    assert (found.address, found.shape, found.stream, found.owner) == (array.memory.address, (2, 3, 3, 3), 1, array)


def test_a_capsule_that_somebody_has_taken_is_refused(gpu: Machine) -> None:
    array = on_gpu(gpu, np.zeros(48, np.uint8))
    taken = array.__dlpack__()
    np.from_dlpack(type("Once", (), {"__dlpack__": lambda s, **o: taken, "__dlpack_device__": lambda s: (CPU, 0)})())
    once = type("Once", (), {"__dlpack__": lambda s, **o: taken, "__dlpack_device__": lambda s: (CPU, 0)})()
    with pytest.raises(InputError, match="one that was taken already"):
        view(once, stream=1, device=0)
