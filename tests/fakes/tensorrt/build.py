"""The builder, its configuration, and the plan that it returns: JSON with the ONNX graph inside."""

from __future__ import annotations

import base64
import json
from typing import Any

from tests.fakes.tensorrt.base import Setting, Strict

CACHE_HEADER = b"timings:"


class IHostMemory(bytes):
    @property
    def nbytes(self) -> int:
        return len(self)


class IOptimizationProfile(Strict):
    def __init__(self) -> None:
        self._shapes: dict[str, Any] = {}

    def set_shape(self, input: str, min: Any, opt: Any, max: Any) -> None:
        if not all(a <= b <= c for a, b, c in zip(min, opt, max, strict=True)):
            raise ValueError("Shape provided for min is inconsistent with other shapes.")
        self._shapes[input] = (min, opt, max)


class ITimingCache(Strict):
    def __init__(self, content: bytes) -> None:
        self._content = content or CACHE_HEADER

    def serialize(self) -> Any:
        return self._trt.IHostMemory(self._content + b"+" if len(self._content) < 99 else self._content)


class IBuilderConfig(Strict):
    def __init__(self) -> None:
        self._profiles: list[Any] = []
        self._flags = {self._trt.BuilderFlag.__members__["TF32"]}
        self._features: dict[Any, bool] = {}
        self._limits: dict[Any, int] = {}
        self._tactics = -1
        self._cache: Any = None

    builder_optimization_level = Setting(3)
    hardware_compatibility_level = Setting()
    profiling_verbosity = Setting()
    tiling_optimization_level = Setting()
    progress_monitor = Setting()

    def set_flag(self, flag: Any) -> None:
        assert isinstance(flag, self._trt.BuilderFlag)
        self._flags.add(flag)

    def clear_flag(self, flag: Any) -> None:
        self._flags.discard(flag)

    def add_optimization_profile(self, profile: Any) -> int:
        self._profiles.append(profile)
        return len(self._profiles) - 1

    def set_preview_feature(self, feature: Any, enable: bool) -> None:
        self._features[feature] = enable

    def set_memory_pool_limit(self, pool: Any, pool_size: int) -> None:
        if pool_size <= self._trt.cuda.total:  # more is ignored
            self._limits[pool] = pool_size

    def get_memory_pool_limit(self, pool: Any) -> int:
        return self._limits.get(pool, self._trt.cuda.total)

    def set_tactic_sources(self, tactic_sources: int) -> bool:
        self._tactics = tactic_sources
        return True

    def create_timing_cache(self, serialized_timing_cache: bytes) -> Any:
        return self._trt.ITimingCache(bytes(serialized_timing_cache))

    def set_timing_cache(self, cache: Any, ignore_mismatch: bool) -> bool:
        if not cache._content.startswith(CACHE_HEADER):
            return False
        self._cache = cache
        return True

    def get_timing_cache(self) -> Any:
        return self._cache


class Builder(Strict):
    def __init__(self, logger: Any) -> None:
        assert isinstance(logger, self._trt.ILogger)
        self._logger = logger

    def create_network(self, flags: int = 0) -> Any:
        known = self._trt.NetworkDefinitionCreationFlag.__members__.values()
        assert not flags & ~sum(1 << int(flag) for flag in known)
        return self._trt.INetworkDefinition(flags)

    def create_builder_config(self) -> Any:
        return self._trt.IBuilderConfig()

    def create_optimization_profile(self) -> Any:
        return self._trt.IOptimizationProfile()

    def build_serialized_network(self, network: Any, config: Any) -> Any:
        self._trt.builds.append((network, config))
        if network._input is None or not config._profiles:
            return self._fail("Network has dynamic or shape inputs, but no optimization profile has been defined.")
        if not self._report(getattr(config, "progress_monitor", None)):
            return None
        if self._trt.cuda.failures.pop("build", None):
            return self._fail("Skipping tactic 0x3e8 due to insufficient memory. Cuda Runtime (out of memory)")
        release: str = self._trt.__version__  # a test may have changed it
        profiles = [[int(shape[0]) for shape in p._shapes[network._input.name]] for p in config._profiles]
        sharing = int(release.split(".")[0]) > 8 or "PROFILE_SHARING_0806" in {
            f.name for f, on in config._features.items() if on
        }
        plan = {"onnx": base64.b64encode(network._model).decode(), "profiles": profiles, "sharing": sharing}
        magic = b"vtrt" if self._trt.__name__ == "tensorrt_rtx" else b"ftrt"
        header = magic + bytes(20) + bytes((*map(int, release.split(".")), 0)[:4])
        return self._trt.IHostMemory(header + json.dumps(plan).encode())

    def _fail(self, reason: str) -> None:
        self._logger.log(self._trt.ILogger.Severity.ERROR, reason)

    def _report(self, monitor: Any) -> bool:
        if monitor is None:
            return True
        monitor.phase_start("Building Engine", None, 2)
        go_on = monitor.step_complete("Building Engine", 0) and monitor.step_complete("Building Engine", 1)
        monitor.phase_finish("Building Engine")
        return go_on
