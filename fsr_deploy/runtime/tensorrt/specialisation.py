"""How TensorRT for RTX runs a plan: its kernels are made for this GPU and these batches in the run, and kept on disk.

Written to its documents and held to its real bindings; it has never run on a GPU.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from fsr_deploy._util import cache_folder
from fsr_deploy.errors import InputError

if TYPE_CHECKING:
    import tensorrt


def check_validity(trt: ModuleType, runtime: tensorrt.Runtime, content: bytes, path: Path) -> None:
    """Raise InputError, with the library's reasons, for a plan that it says cannot run on this machine."""
    validity, diagnostics = runtime.get_engine_validity(content)
    if validity == trt.EngineValidity.INVALID:
        reasons = [
            name.lower().replace("_", " ")
            for name, reason in trt.EngineInvalidityDiagnostics.__members__.items()
            if int(diagnostics) & int(reason)
        ]
        raise InputError(f"{path}: TensorRT for RTX {trt.__version__} cannot run it here: {', '.join(reasons)}")


def kept_kernels(version: str, sm: str, sha256: str) -> Path | None:
    """Return the file that keeps the kernels of one plan on one kind of GPU, None where nothing is cached."""
    folder = cache_folder.cache_folder()
    return folder / f"rtx-{version}-{sm}-{sha256[:16]}.cache" if folder else None


class Specialisation:
    """The kernels that are made for a plan: before a batch size runs for the first time, and read from disk after that.

    ``graphs`` lets the library launch a batch as one CUDA graph; it does so itself here.
    """

    def __init__(self, trt: ModuleType, engine: tensorrt.ICudaEngine, path: Path | None, *, graphs: bool) -> None:
        self._engine = engine
        self._path = path
        self._config = engine.create_runtime_config()
        strategies = trt.DynamicShapesKernelSpecializationStrategy
        self._config.dynamic_shapes_kernel_specialization_strategy = strategies.EAGER
        if graphs:
            self._config.cuda_graph_strategy = trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
        self._cache = self._config.create_runtime_cache()
        if content := cache_folder.find(path):
            self._cache.deserialize(content)  # the library leaves out what another driver made
        self._config.set_runtime_cache(self._cache)

    def context(self) -> tensorrt.IExecutionContext:
        """Return a new execution context, None where there is none to be had."""
        return self._engine.create_execution_context(self._config)

    def keep(self) -> None:
        """Write the kernels for the next run; a folder that cannot be written costs a warning only."""
        if self._path is not None:
            cache_folder.keep(self._path, bytes(self._cache.serialize()))
