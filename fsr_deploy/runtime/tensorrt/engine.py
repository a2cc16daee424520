"""A plan deserialised: its input and output, its profiles, and contexts to run it in."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fsr_deploy.bundle.engine_file import EngineFile
from fsr_deploy.errors import InputError
from fsr_deploy.runtime.session import OutOfMemory
from fsr_deploy.runtime.tensorrt.flavour import RTX, flavour_of_plan, named
from fsr_deploy.runtime.tensorrt.library import load, log, operation, ran_out_of_memory, said, warnings
from fsr_deploy.runtime.tensorrt.specialisation import Specialisation, check_validity, kept_kernels

if TYPE_CHECKING:
    import tensorrt

DTYPES = {"UINT8": np.uint8, "FLOAT": np.float32, "HALF": np.float16}


@dataclass(frozen=True)
class Tensor:
    """One input or output; ``shape`` is that of one item of the batch, (h, w, 3) or (3, H, W)."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @property
    def item_bytes(self) -> int:
        """The size of one item of the batch in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True)
class ShapeRange:
    """One of the batch ranges that the plan was built for, fastest at ``opt``."""

    index: int
    min: int
    opt: int
    max: int


class Engine:
    """A deserialised plan with one input and one output, both with the batch as first dimension.

    ``library`` is the TensorRT that runs it, with its version; ``warnings`` are what it said while it loaded the plan.
    ``sm`` is the GPU's kind ("sm_86"), and ``graphs`` lets TensorRT for RTX launch batches as CUDA graphs. Raises
    InputError where TensorRT refuses the plan, with its own words, and OutOfMemory where it does not fit.
    """

    def __init__(self, file: EngineFile, sm: str = "", *, graphs: bool = False) -> None:
        self.flavour = flavour_of_plan(file.content)
        trt = load(self.flavour)
        self.path = file.path
        self.library = named(trt)
        self._runtime = trt.Runtime(log(self.flavour))
        if self.flavour == RTX:
            check_validity(trt, self._runtime, file.content, file.path)
        if file.bundle and file.bundle.plan and file.bundle.plan.version_compatible:
            self._runtime.engine_host_code_allowed = True  # the preflight has asked for --trust
        with operation():
            self._engine = self._runtime.deserialize_cuda_engine(file.content)
            if self._engine is None:
                _refuse(f"{self.path}: {self.library} refuses the plan")
            self.warnings = warnings()
        self._specialisation: Specialisation | None = None
        if self.flavour == RTX:
            kept = kept_kernels(trt.__version__, sm, file.sha256)
            self._specialisation = Specialisation(trt, self._engine, kept, graphs=graphs)
        self.input, self.output = self._tensors()
        self.profiles = tuple(self._profile(index) for index in range(self._engine.num_optimization_profiles))

    @property
    def max_batch(self) -> int:
        """The largest batch of any profile."""
        return max(profile.max for profile in self.profiles)

    def context(self) -> tensorrt.IExecutionContext:
        """Return a new execution context; raises OutOfMemory where its memory is not to be had."""
        with operation():
            if self._specialisation:
                context = self._specialisation.context()
            else:
                context = self._engine.create_execution_context()
            if context is None:
                _refuse(f"{self.path}: {self.library} cannot make an execution context")
        return context

    def profile_for(self, batch: int) -> ShapeRange:
        """Return the profile whose best batch is nearest to ``batch`` (by ratio) among those that can take it.

        A batch below every profile's minimum belongs to the nearest one too: it has to be filled up to ``min``.
        Raises InputError for a batch over every maximum.
        """
        fitting = [profile for profile in self.profiles if batch <= profile.max]
        if not fitting:
            raise InputError(f"{self.path}: a batch of {batch}; this plan takes at most {self.max_batch}")
        return min(fitting, key=lambda profile: (batch < profile.min, abs(math.log(profile.opt / batch)), profile.max))

    def check_input(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        """Raise InputError for a batch that is not the engine's."""
        expected = self.input
        if dtype != expected.dtype or shape[1:] != expected.shape or not shape[0]:
            wanted = f"{expected.dtype} (N, {', '.join(map(str, expected.shape))})"
            raise InputError(f"a batch of {dtype} {shape}; this engine takes {wanted}")

    def inspect(self) -> list[Any]:
        """Return TensorRT's description of each of the engine's layers; their names are the ONNX nodes'."""
        trt = load(self.flavour)
        text = self._engine.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON)
        layers: list[Any] = json.loads(text, strict=False)["Layers"]  # it separates names by raw control characters
        return layers

    def close(self) -> None:
        """Free the engine; contexts made from it must be gone."""
        if self._specialisation:
            self._specialisation.keep()
        del self._specialisation, self._engine, self._runtime

    def _tensors(self) -> tuple[Tensor, Tensor]:
        modes = load(self.flavour).TensorIOMode
        names = [self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)]
        inputs = [self._tensor(name) for name in names if self._engine.get_tensor_mode(name) == modes.INPUT]
        outputs = [self._tensor(name) for name in names if self._engine.get_tensor_mode(name) == modes.OUTPUT]
        if len(inputs) != 1 or len(outputs) != 1:
            raise InputError(f"{self.path}: not an engine of this package: its tensors are {', '.join(names)}")
        return inputs[0], outputs[0]

    def _tensor(self, name: str) -> Tensor:
        dtype = self._engine.get_tensor_dtype(name).name
        shape = tuple(self._engine.get_tensor_shape(name))
        if dtype not in DTYPES or min(shape[1:], default=0) < 1:
            raise InputError(f"{self.path}: not an engine of this package: {name} is {dtype} {shape}")
        return Tensor(name, np.dtype(DTYPES[dtype]), shape[1:])

    def _profile(self, index: int) -> ShapeRange:
        low, best, high = self._engine.get_tensor_profile_shape(self.input.name, index)
        return ShapeRange(index, low[0], best[0], high[0])


def _refuse(message: str) -> None:
    """Raise what fits to TensorRT's log."""
    raise (OutOfMemory if ran_out_of_memory() else InputError)(f"{message}: {said()}")
