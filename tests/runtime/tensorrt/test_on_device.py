"""Faces that are on the GPU already, taken and given without a copy, on the stand-ins."""

from __future__ import annotations

import ctypes
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fsr_deploy.errors import InputError
from fsr_deploy.runtime.cuda import api as cuda
from fsr_deploy.runtime.tensorrt.session import TensorRTSession
from tests.engines import repeat_pixels
from tests.fakes.machine import Machine, MachineFactory
from tests.fakes.plans import lr_faces, write_plan


@pytest.fixture
def gpu(machine: MachineFactory) -> Machine:
    return machine("10.16")


class Interface:
    """Another library's array: device memory behind ``__cuda_array_interface__``."""

    def __init__(self, gpu: Machine, content: Any, **changes: Any) -> None:
        _, self.address = gpu.cuda.cudaMalloc(content.nbytes)
        self.write(gpu, content)
        self.__cuda_array_interface__ = {
            "shape": content.shape,
            "typestr": content.dtype.str,
            "data": (self.address, False),
            "version": 3,
            **changes,
        }

    def write(self, gpu: Machine, content: Any) -> None:
        np.copyto(np.asarray(gpu.cuda.memory["device"][self.address]), content.reshape(-1).view(np.uint8))


def fetch(gpu: Machine, array: Any, stream: int = 1) -> Any:
    """Return the content of a device array as it is when the stream has come so far."""
    gpu.cuda.stream(stream).run()
    return np.asarray(gpu.cuda.memory["device"][array.memory.address]).view(array.dtype).reshape(array.shape).copy()


@pytest.mark.parametrize("own_stream", [False, True])
def test_arrays_on_the_gpu_are_upscaled_in_the_callers_stream(gpu: Machine, tmp_path: Path, own_stream: bool) -> None:
    session = TensorRTSession(write_plan(gpu, tmp_path / "bundle"))
    stream = cuda.Stream().handle if own_stream else 1
    faces = Interface(gpu, lr_faces(3))
    gpu.cuda.stream(stream).put(lambda: faces.write(gpu, lr_faces(3, seed=9)))  # the caller's own work, still to come
    uploads = gpu.cuda.calls.get("cudaMemcpyAsync", 0)
    result = session.upscale_on_device(faces, stream)
    assert gpu.cuda.calls.get("cudaMemcpyAsync", 0) == uploads, "nothing is copied"
    assert result.__cuda_array_interface__["shape"] == (3, 32, 32, 3)
    assert np.array_equal(fetch(gpu, result, stream), repeat_pixels(lr_faces(3, seed=9)))


def test_an_array_that_becomes_ready_in_another_stream_is_waited_for(gpu: Machine, tmp_path: Path) -> None:
    session = TensorRTSession(write_plan(gpu, tmp_path / "bundle"))
    producer = cuda.Stream().handle
    faces = Interface(gpu, lr_faces(2), stream=producer)
    gpu.cuda.stream(producer).put(lambda: faces.write(gpu, lr_faces(2, seed=7)))
    result = session.upscale_on_device(faces)
    assert np.array_equal(fetch(gpu, result), repeat_pixels(lr_faces(2, seed=7)))


def test_results_on_the_gpu_and_on_the_host_do_not_disturb_each_other(gpu: Machine, tmp_path: Path) -> None:
    session = TensorRTSession(write_plan(gpu, tmp_path / "bundle"))
    for seed in range(6):
        result = session.upscale_on_device(Interface(gpu, lr_faces(2, seed)))
        assert np.array_equal(session.upscale(lr_faces(4, seed)), repeat_pixels(lr_faces(4, seed)))
        assert np.array_equal(fetch(gpu, result), repeat_pixels(lr_faces(2, seed)))


def test_a_producer_that_goes_on_writing_does_not_overtake_the_run(gpu: Machine, tmp_path: Path) -> None:
    """Its allocator, or the producer itself, may use the memory again in its own stream at once."""
    session = TensorRTSession(write_plan(gpu, tmp_path / "bundle"))
    producer = cuda.Stream().handle
    faces = Interface(gpu, lr_faces(2), stream=producer)
    result = session.upscale_on_device(faces)
    gpu.cuda.stream(producer).put(lambda: faces.write(gpu, lr_faces(2, seed=3)))
    gpu.cuda.stream(producer).run()
    assert np.array_equal(fetch(gpu, result), repeat_pixels(lr_faces(2)))


def test_an_array_that_is_dropped_at_once_lives_until_the_gpu_has_read_it(gpu: Machine, tmp_path: Path) -> None:
    session = TensorRTSession(write_plan(gpu, tmp_path / "bundle"))
    faces = Interface(gpu, lr_faces(2))
    gone = weakref.ref(faces)
    result = session.upscale_on_device(faces)
    del faces
    assert gone() is not None, "the run is still to come"
    assert np.array_equal(fetch(gpu, result), repeat_pixels(lr_faces(2)))
    session.upscale_on_device(Interface(gpu, lr_faces(2)))
    assert gone() is None, "and is dropped at the next call"


def test_results_take_turns_in_the_same_memory_and_stay_right(gpu: Machine, tmp_path: Path) -> None:
    session = TensorRTSession(write_plan(gpu, tmp_path / "bundle"))
    faces = [Interface(gpu, lr_faces(2, seed)) for seed in range(8)]
    seen = []
    for array in faces:  # dropped by the caller once its stream has read it, as an array of PyTorch is
        result = session.upscale_on_device(array)
        address, size = result.memory.address, result.memory.nbytes
        gpu.cuda.stream(1).put(lambda a=address, n=size: seen.append(bytes(ctypes.string_at(a, n))))
        del result
    mallocs = gpu.cuda.calls["cudaMalloc"]
    gpu.cuda.stream(1).run()
    assert seen == [repeat_pixels(lr_faces(2, seed)).tobytes() for seed in range(8)]
    assert "cudaFree" not in gpu.cuda.calls and gpu.cuda.calls["cudaMalloc"] == mallocs


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"data": (0, True)}, "read-only"),
        ({"data": (0, False)}, "host's memory"),
        ({"shape": (1, 32, 32, 3)}, "this batch gives"),
    ],
)
def test_an_array_that_cannot_take_the_result_is_refused(
    gpu: Machine, tmp_path: Path, changes: dict[str, Any], text: str
) -> None:
    session = TensorRTSession(write_plan(gpu, tmp_path / "bundle"))
    out = Interface(gpu, np.zeros((2, 32, 32, 3), np.uint8))
    if changes.get("data") == (0, True):
        changes = {"data": (out.address, True)}
    out.__cuda_array_interface__.update(changes)
    with pytest.raises(InputError, match=text):
        session.upscale_on_device(Interface(gpu, lr_faces(2)), out=out)


def test_a_result_over_its_own_input_is_refused(gpu: Machine, tmp_path: Path) -> None:
    session = TensorRTSession(write_plan(gpu, tmp_path / "bundle"))
    out = Interface(gpu, np.zeros((2, 32, 32, 3), np.uint8))
    faces = Interface(gpu, lr_faces(2), data=(out.address + 100, False))
    with pytest.raises(InputError, match="shares memory with the faces"):
        session.upscale_on_device(faces, out=out)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"strides": (96, 1, 4, 16)}, "not C-contiguous"),
        ({"typestr": "<f4"}, "this engine takes uint8"),
        ({"shape": (2, 2, 4, 6)}, "this engine takes uint8"),
    ],
)
def test_arrays_on_the_gpu_that_do_not_fit_are_refused(
    gpu: Machine, tmp_path: Path, changes: dict[str, Any], text: str
) -> None:
    session = TensorRTSession(write_plan(gpu, tmp_path / "bundle"))
    with pytest.raises(InputError, match=text):
        session.upscale_on_device(Interface(gpu, lr_faces(2), **changes))


def test_the_caller_may_give_the_array_for_the_result(gpu: Machine, tmp_path: Path) -> None:
    session = TensorRTSession(write_plan(gpu, tmp_path / "bundle"))
    own = Interface(gpu, np.zeros((2, 32, 32, 3), np.uint8))
    allocations = gpu.cuda.calls["cudaMalloc"]
    for seed in range(3):
        faces = Interface(gpu, lr_faces(2, seed))
        assert session.upscale_on_device(faces, out=own) is own
        gpu.cuda.stream(1).run()
        memory = np.asarray(gpu.cuda.memory["device"][own.address])
        assert np.array_equal(memory.reshape(2, 32, 32, 3), repeat_pixels(lr_faces(2, seed)))
    context, inputs = 1, 3
    assert gpu.cuda.calls["cudaMalloc"] == allocations + context + inputs
    with pytest.raises(InputError, match=r"an output array of uint8 \(2, 32, 32, 3\); this batch gives"):
        session.upscale_on_device(Interface(gpu, lr_faces(3)), out=own)


def test_an_array_on_the_host_is_no_array_on_the_gpu(gpu: Machine, tmp_path: Path) -> None:
    session = TensorRTSession(write_plan(gpu, tmp_path / "bundle"))
    with pytest.raises(InputError, match="ndarray: not an array on cuda:0"):
        session.upscale_on_device(lr_faces(2))
