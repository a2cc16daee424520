"""Where TensorRT for RTX differs: GPUs that are named in a build, kernels that are made in a run."""

from __future__ import annotations

from typing import Any

from tests.fakes.tensorrt import build, run
from tests.fakes.tensorrt.base import Setting, Strict


class IBuilderConfig(build.IBuilderConfig):
    num_compute_capabilities = Setting(0)

    def set_compute_capability(self, compute_capability: Any, index: int) -> bool:
        assert isinstance(compute_capability, self._trt.ComputeCapability) and index < self.num_compute_capabilities
        self._capabilities = (*getattr(self, "_capabilities", ()), compute_capability.name)
        return True


class IRuntimeCache(Strict):
    """Kernels that were made in a run: one byte for each context."""

    def __init__(self) -> None:
        self._kernels = b""

    def serialize(self) -> bytes:
        return self._kernels

    def deserialize(self, blob: bytes) -> bool:
        self._kernels = bytes(blob)
        return True


class IRuntimeConfig(Strict):
    cuda_graph_strategy = Setting()
    dynamic_shapes_kernel_specialization_strategy = Setting()

    def create_runtime_cache(self) -> Any:
        return self._trt.IRuntimeCache()

    def set_runtime_cache(self, cache: Any = None) -> bool:
        self._cache = cache
        return True


class ICudaEngine(run.ICudaEngine):
    def create_runtime_config(self) -> Any:
        return self._trt.IRuntimeConfig()

    def create_execution_context(self, runtime_config: Any = None) -> Any:
        runtime_config._cache._kernels += b"k"
        self._trt.configs.append(runtime_config)
        return run.ICudaEngine.create_execution_context(self)  # super() knows the class before it was copied


class Runtime(run.Runtime):
    def get_engine_validity(self, buffer: bytes) -> tuple[Any, int]:
        """Refuse plans for the reasons that a test has put into ``invalid``."""
        reasons = self._trt.EngineInvalidityDiagnostics.__members__
        validity = self._trt.EngineValidity.__members__["INVALID" if self._trt.invalid else "VALID"]
        return validity, sum(int(reasons[name]) for name in self._trt.invalid)
