"""What the stand-in for TensorRT for RTX has beyond the one for TensorRT (tests.fakes.tensorrt)."""

from __future__ import annotations

from types import ModuleType
from typing import Any


class IRuntimeCache:
    """Kernels that were made in a run: one byte each time that a context is asked for."""

    def __init__(self) -> None:
        self._kernels = b""

    def serialize(self) -> bytes:
        return self._kernels

    def deserialize(self, blob: bytes) -> bool:
        self._kernels = bytes(blob)
        return True


class IRuntimeConfig:
    """How contexts run."""

    __slots__ = ("_cache", "_graphs", "_specialisation")

    def __init__(self) -> None:
        self._graphs = self._specialisation = self._cache = None

    @property
    def cuda_graph_strategy(self) -> Any:
        return self._graphs

    @cuda_graph_strategy.setter
    def cuda_graph_strategy(self, value: Any) -> None:
        self._graphs = value

    @property
    def dynamic_shapes_kernel_specialization_strategy(self) -> Any:
        return self._specialisation

    @dynamic_shapes_kernel_specialization_strategy.setter
    def dynamic_shapes_kernel_specialization_strategy(self, value: Any) -> None:
        self._specialisation = value

    def create_runtime_cache(self) -> IRuntimeCache:
        return IRuntimeCache()

    def set_runtime_cache(self, cache: IRuntimeCache | None = None) -> bool:
        self._cache = cache
        return True


def complete(trt: ModuleType) -> None:
    """Add what only TensorRT for RTX has; ``trt.invalid`` makes its runtime refuse plans, for the reasons in it."""
    plain_context = trt.ICudaEngine.create_execution_context

    def create_runtime_config(self: Any) -> IRuntimeConfig:
        return IRuntimeConfig()

    def create_execution_context(self: Any, runtime_config: Any = None) -> Any:
        assert isinstance(runtime_config, IRuntimeConfig) and runtime_config._cache is not None
        runtime_config._cache._kernels += b"k"
        trt.configs.append(runtime_config)  # type: ignore[attr-defined]
        return plain_context(self)

    def get_engine_validity(self: Any, buffer: bytes) -> tuple[Any, int]:
        validity = trt.EngineValidity.__members__["INVALID" if trt.invalid else "VALID"]
        return validity, sum(int(trt.EngineInvalidityDiagnostics.__members__[name]) for name in trt.invalid)

    def set_compute_capability(self: Any, compute_capability: Any, index: int) -> bool:
        assert index < self.num_compute_capabilities and isinstance(compute_capability, trt.ComputeCapability)
        self._capabilities = (*getattr(self, "_capabilities", ()), compute_capability.name)
        return True

    trt.configs, trt.invalid = [], ()  # type: ignore[attr-defined]
    trt.IRuntimeConfig, trt.IRuntimeCache = IRuntimeConfig, IRuntimeCache  # type: ignore[attr-defined]
    trt.ICudaEngine.create_runtime_config = create_runtime_config
    trt.ICudaEngine.create_execution_context = create_execution_context
    trt.Runtime.get_engine_validity = get_engine_validity
    trt.IBuilderConfig.set_compute_capability = set_compute_capability
    trt.IBuilderConfig.num_compute_capabilities = property(
        lambda self: getattr(self, "_count", 0), lambda self, value: setattr(self, "_count", value)
    )
