"""A machine with a GPU, a driver, CUDA and a TensorRT release, all of them stand-ins."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from fsr_deploy.errors import MissingError
from fsr_deploy.exporting.precision.blocks import fp32_modules
from fsr_deploy.exporting.tensorrt import child
from fsr_deploy.exporting.tensorrt.build import build_plan
from fsr_deploy.exporting.tensorrt.child import Answer, BuildRequest
from fsr_deploy.runtime.cuda import api as cuda
from fsr_deploy.runtime.cuda import driver
from fsr_deploy.runtime.tensorrt import library
from tests.fakes.cuda import Cuda


class FakeDriver:
    """The functions of libcuda that are used; results are written to the ``byref`` arguments."""

    def __init__(self, capability: tuple[int, int] = (9, 0), name: bytes = b"NVIDIA H100", count: int = 1) -> None:
        self.capability, self.name, self.count, self.init_code = capability, name, count, 0

    def cuInit(self, flags: int) -> int:
        return self.init_code

    def cuDriverGetVersion(self, version: Any) -> int:
        version._obj.value = 13000
        return 0

    def cuDeviceGetCount(self, count: Any) -> int:
        count._obj.value = self.count
        return 0

    def cuDeviceGet(self, device: Any, ordinal: int) -> int:
        device._obj.value = ordinal
        return 0

    def cuDeviceGetName(self, name: Any, length: int, device: int) -> int:
        name.value = self.name
        return 0

    def cuDeviceTotalMem_v2(self, nbytes: Any, device: int) -> int:
        nbytes._obj.value = 80 << 30
        return 0

    def cuDeviceGetAttribute(self, value: Any, attribute: int, device: int) -> int:
        value._obj.value = self.capability[attribute - 75]
        return 0

    def cuGetErrorName(self, code: int, name: Any) -> int:
        name._obj.value = b"CUDA_ERROR_SYSTEM_DRIVER_MISMATCH"
        return 0


@dataclass
class Machine:
    """The stand-ins that the fixture installed; change ``driver`` to change the GPUs."""

    cuda: Cuda
    tensorrt: ModuleType
    driver: FakeDriver


MachineFactory = Callable[..., Machine]


def build_here(request: BuildRequest) -> Answer:
    """Build in this process, where the stand-ins are."""
    in_fp32 = fp32_modules(request.precision_map, request.io)
    built = build_plan(request.graph, request.precision, request.batches, request.options, in_fp32)
    request.plan.write_bytes(built.content)
    return Answer(built.info, built.seconds, built.kernels)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[MachineFactory]:
    """Return a function that turns this machine into one with a GPU: ``machine("10.16")``."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    made: list[Cuda] = []

    def install(release: str = "10.16", **driver_facts: Any) -> Machine:
        from tests.fakes.tensorrt import make  # brings ONNX Runtime along

        fake_cuda, fake_driver = Cuda(), FakeDriver(**driver_facts)
        made.append(fake_cuda)
        trt = make(release, fake_cuda)
        monkeypatch.setitem(sys.modules, trt.__name__, trt)
        monkeypatch.setattr(child, "build", build_here)
        monkeypatch.setattr(cuda, "runtime", lambda: fake_cuda)
        monkeypatch.setattr(driver, "_load_library", lambda: fake_driver)
        _forget_modules()
        return Machine(fake_cuda, trt, fake_driver)

    yield install
    _forget_modules()
    assert [fault for gpu in made for fault in gpu.faults] == []


@pytest.fixture
def no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make this a machine without an NVIDIA driver."""

    def load_library() -> None:
        raise MissingError("this machine has no NVIDIA driver (libcuda.so.1 is not found)")

    monkeypatch.setattr(driver, "_load_library", load_library)


def _forget_modules() -> None:
    library.load.cache_clear()
    library.log.cache_clear()
