"""A stand-in for the ``tensorrt`` module of one release, cut to what that release's real binding offers.

Networks are computed by ONNX Runtime on the CPU, in CUDA's order (tests.fakes.cuda). It is as strict as TensorRT where
that matters: what has to be set before a run, which addresses are valid, when a captured graph is stale, who may share
a profile. ``make`` removes every member that the recorded signatures of the release do not have, and
tests/contract/test_fakes.py compares the signatures of the rest.
"""

from __future__ import annotations

import base64
import ctypes
import enum
import functools
import importlib.machinery
import json
import math
import types
import weakref
from typing import Any

import numpy as np
import onnx
import onnxruntime

from tests.contract.table import MODULES, RTX, recorded
from tests.fakes.cuda import Cuda
from tests.fakes.tensorrt_rtx import complete

CONTEXT_BYTES = 1 << 20
CACHE_HEADER = b"timings:"
UNSUPPORTED = "NonZero"
KINDS = {"Cast": "CAST", "QuantizeLinear": "QUANTIZE", "DequantizeLinear": "DEQUANTIZE"}
LISTENERS = ("ILogger", "IProfiler", "IProgressMonitor")


class _Enum(enum.Enum):
    def __int__(self) -> int:
        return int(self.value)


class _Strict:
    """Refuses, as a pybind class does, to be given attributes that it does not have."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_") and not hasattr(type(self), name):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        super().__setattr__(name, value)


class _Setting:
    """A property that can be written and does nothing else."""

    def __init__(self, default: Any = None) -> None:
        self.default = default

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = f"_{name}"

    def __get__(self, instance: Any, owner: type) -> Any:
        return self if instance is None else getattr(instance, self.name, self.default)

    def __set__(self, instance: Any, value: Any) -> None:
        setattr(instance, self.name, value)


@functools.cache
def run_onnx(model: bytes) -> Any:
    """Return a function that runs a graph of one input and one output."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda batch: session.run(None, {name: batch})[0]


def make(release: str, cuda: Cuda) -> types.ModuleType:
    """Return the module of a release, one of MODULES, for one GPU; ``builds`` lists what was built.

    What a test puts into ``load_warnings`` is logged while a plan is loaded.
    """
    facts = recorded(release)
    numbers = [int(part) for part in facts["version"].split(".")]
    name = MODULES[release]
    trt = types.ModuleType(name)
    trt.__spec__ = importlib.machinery.ModuleSpec(name, None)
    trt.__version__ = facts["version"]  # type: ignore[attr-defined]
    release_is_rtx = release == RTX
    builds: list[Any] = []
    load_warnings: list[str] = []
    enums = {name: _Enum(name, members["enum"]) for name, members in facts["classes"].items() if "enum" in members}
    types_of_onnx = {1: "FLOAT", 2: "UINT8", 3: "INT8", 6: "INT32", 7: "INT64", 9: "BOOL", 10: "HALF"}

    def dtype_of(number: int) -> Any:
        return enums["DataType"].__members__.get(types_of_onnx.get(number, ""), enums["DataType"].__members__["INT32"])

    class ILogger:
        Severity = enums["Severity"]

        def log(self, severity: Any, msg: str) -> None:
            raise NotImplementedError

    class IProfiler:
        def report_layer_time(self, layer_name: str, ms: float) -> None:
            raise NotImplementedError

    class IProgressMonitor:
        def phase_start(self, phase_name: str, parent_phase: str, num_steps: int) -> None:
            raise NotImplementedError

        def phase_finish(self, phase_name: str) -> None:
            raise NotImplementedError

        def step_complete(self, phase_name: str, step: int) -> bool:
            raise NotImplementedError

    class IHostMemory(bytes):
        @property
        def nbytes(self) -> int:
            return len(self)

    class ITensor(_Strict):
        def __init__(self, name: str, dtype: Any, shape: tuple[int, ...]) -> None:
            self._name, self._dtype, self._shape = name, dtype, shape

        dtype = property(lambda self: self._dtype)
        name = property(lambda self: self._name, lambda self, value: None)
        shape = property(lambda self: self._shape, lambda self, value: None)

    class ILayer(_Strict):
        def __init__(self, name: str, kind: Any, outputs: list[Any]) -> None:
            self._name, self._type, self._outputs, self._output_types = name, kind, outputs, {}

        name = _Setting()
        precision = _Setting()
        type = property(lambda self: self._type)
        num_outputs = property(lambda self: len(self._outputs))

        def get_output(self, index: int) -> Any:
            return self._outputs[index]

        def set_output_type(self, index: int, dtype: Any) -> None:
            self._output_types[index] = dtype

    class INetworkDefinition(_Strict):
        def __init__(self, flags: int) -> None:
            self._flags, self._model, self._input, self._layers = flags, b"", None, []

        num_layers = property(lambda self: len(self._layers))
        num_inputs = num_outputs = property(lambda self: int(self._input is not None))

        def get_input(self, index: int) -> Any:
            return self._input

        def get_layer(self, index: int) -> Any:
            return self._layers[index]

        def _read(self, model: bytes) -> None:
            graph = onnx.shape_inference.infer_shapes(onnx.load_from_string(model)).graph
            types_by_name = {v.name: v.type.tensor_type.elem_type for v in (*graph.value_info, *graph.output)}
            source = graph.input[0].type.tensor_type
            shape = tuple(d.dim_value or -1 for d in source.shape.dim)
            self._model, self._input = model, ITensor(graph.input[0].name, dtype_of(source.elem_type), shape)
            kinds = enums["LayerType"].__members__
            for node in graph.node:
                outputs = [ITensor(name, dtype_of(types_by_name.get(name, 0)), ()) for name in node.output]
                if node.op_type == "Softmax":  # the parser flattens its input, in a layer that it gives no name
                    self._add(f"(Unnamed Layer* {len(self._layers)}) [Shuffle]", kinds["SHUFFLE"], outputs)
                self._add(node.name, kinds[KINDS.get(node.op_type, "ELEMENTWISE")], outputs)

        def _add(self, name: str, kind: Any, outputs: list[Any]) -> None:
            self._layers.append(ILayer(name, kind, outputs))

    class ParserError(_Strict):
        def __init__(self, node: int, desc: str) -> None:
            self._node, self._desc = node, desc

        def node(self) -> int:
            return self._node

        def desc(self) -> str:
            return self._desc

    class OnnxParser(_Strict):
        def __init__(self, network: Any, logger: Any) -> None:
            self._network, self._errors = network, []

        num_errors = property(lambda self: len(self._errors))

        def parse(self, model: bytes, path: str | None = None) -> bool:
            nodes = onnx.load_from_string(model).graph.node
            self._errors = [
                ParserError(index, f"No importer registered for op: {node.op_type}")
                for index, node in enumerate(nodes)
                if node.op_type == UNSUPPORTED
            ]
            if not self._errors:
                self._network._read(bytes(model))
            return not self._errors

        def get_error(self, index: int) -> Any:
            return self._errors[index]

    class IOptimizationProfile(_Strict):
        def __init__(self) -> None:
            self._shapes: dict[str, Any] = {}

        def set_shape(self, input: str, min: Any, opt: Any, max: Any) -> None:
            if not all(a <= b <= c for a, b, c in zip(min, opt, max, strict=True)):
                raise ValueError("Shape provided for min is inconsistent with other shapes.")
            self._shapes[input] = (min, opt, max)

    class ITimingCache(_Strict):
        def __init__(self, content: bytes) -> None:
            self._content = content or CACHE_HEADER

        def serialize(self) -> Any:
            return IHostMemory(self._content + b"+" if len(self._content) < 99 else self._content)

    class IBuilderConfig(_Strict):
        def __init__(self) -> None:
            self._profiles: list[Any] = []
            self._flags = {enums["BuilderFlag"].__members__["TF32"]}
            self._features: dict[Any, bool] = {}
            self._limits: dict[Any, int] = {}
            self._tactics = -1
            self._cache: Any = None

        builder_optimization_level = _Setting(3)
        hardware_compatibility_level = _Setting()
        profiling_verbosity = _Setting()
        progress_monitor = _Setting()

        def set_flag(self, flag: Any) -> None:
            assert isinstance(flag, enums["BuilderFlag"])
            self._flags.add(flag)

        def clear_flag(self, flag: Any) -> None:
            self._flags.discard(flag)

        def add_optimization_profile(self, profile: Any) -> int:
            self._profiles.append(profile)
            return len(self._profiles) - 1

        def set_preview_feature(self, feature: Any, enable: bool) -> None:
            self._features[feature] = enable

        def set_memory_pool_limit(self, pool: Any, pool_size: int) -> None:
            if pool_size <= cuda.total:  # more is ignored
                self._limits[pool] = pool_size

        def get_memory_pool_limit(self, pool: Any) -> int:
            return self._limits.get(pool, cuda.total)

        def set_tactic_sources(self, tactic_sources: int) -> bool:
            self._tactics = tactic_sources
            return True

        def create_timing_cache(self, serialized_timing_cache: bytes) -> Any:
            return ITimingCache(bytes(serialized_timing_cache))

        def set_timing_cache(self, cache: Any, ignore_mismatch: bool) -> bool:
            if not cache._content.startswith(CACHE_HEADER):
                return False
            self._cache = cache
            return True

        def get_timing_cache(self) -> Any:
            return self._cache

    class Builder(_Strict):
        def __init__(self, logger: Any) -> None:
            assert isinstance(logger, ILogger)
            self._logger = logger

        def create_network(self, flags: int = 0) -> Any:
            known = enums["NetworkDefinitionCreationFlag"].__members__.values()
            assert not flags & ~sum(1 << int(flag) for flag in known)
            return INetworkDefinition(flags)

        def create_builder_config(self) -> Any:
            return IBuilderConfig()

        def create_optimization_profile(self) -> Any:
            return IOptimizationProfile()

        def build_serialized_network(self, network: Any, config: Any) -> Any:
            builds.append((network, config))
            if network._input is None or not config._profiles:
                return self._fail("Network has dynamic or shape inputs, but no optimization profile has been defined.")
            if not self._report(getattr(config, "progress_monitor", None)):
                return None
            if cuda.failures.pop("build", None):
                return self._fail("Skipping tactic 0x3e8 due to insufficient memory. Cuda Runtime (out of memory)")
            profiles = [[int(shape[0]) for shape in p._shapes[network._input.name]] for p in config._profiles]
            sharing = numbers[0] > 8 or "PROFILE_SHARING_0806" in {f.name for f, on in config._features.items() if on}
            plan = {"onnx": base64.b64encode(network._model).decode(), "profiles": profiles, "sharing": sharing}
            release: str = trt.__version__  # which a test may have changed
            header = (
                (b"vtrt" if release_is_rtx else b"ftrt") + bytes(20) + bytes((*map(int, release.split(".")), 0)[:4])
            )
            return IHostMemory(header + json.dumps(plan).encode())

        def _fail(self, reason: str) -> None:
            self._logger.log(ILogger.Severity.ERROR, reason)

        def _report(self, monitor: Any) -> bool:
            if monitor is None:
                return True
            monitor.phase_start("Building Engine", None, 2)
            go_on = monitor.step_complete("Building Engine", 0) and monitor.step_complete("Building Engine", 1)
            monitor.phase_finish("Building Engine")
            return go_on

    class Runtime(_Strict):
        def __init__(self, logger: Any) -> None:
            assert isinstance(logger, ILogger)
            self._logger = logger

        engine_host_code_allowed = _Setting(False)

        def deserialize_cuda_engine(self, serialized_engine: bytes) -> Any:
            try:
                plan = json.loads(serialized_engine[28:])
            except ValueError:
                self._logger.log(ILogger.Severity.ERROR, "Serialization assertion plan->header.size failed.")
                return None
            for line in load_warnings:
                self._logger.log(ILogger.Severity.WARNING, line)
            return ICudaEngine(plan, self._logger)

    class EngineInspector(_Strict):
        def __init__(self, names: list[str]) -> None:
            self._names = names

        def get_engine_information(self, format: Any) -> str:
            assert format == enums["LayerInformationFormat"].__members__["JSON"]
            return json.dumps({"Layers": [{"Name": name} for name in self._names]})

    class ICudaEngine(_Strict):
        def __init__(self, plan: dict[str, Any], logger: Any) -> None:
            self._logger = logger
            self._model = base64.b64decode(plan["onnx"])
            self._profiles, self._sharing = plan["profiles"], plan["sharing"]
            graph = onnx.load_from_string(self._model).graph
            self._nodes = [node.name for node in graph.node]
            self._tensors = [graph.input[0], graph.output[0]]
            self._in_use: dict[int, Any] = {}

        num_io_tensors = property(lambda self: 2)
        num_optimization_profiles = property(lambda self: len(self._profiles))

        def get_tensor_name(self, index: int) -> str:
            return self._tensors[index].name

        def get_tensor_mode(self, name: str) -> Any:
            return enums["TensorIOMode"].__members__["INPUT" if name == self._tensors[0].name else "OUTPUT"]

        def get_tensor_dtype(self, name: str) -> Any:
            return dtype_of(self._tensor(name).elem_type)

        def get_tensor_shape(self, name: str) -> tuple[int, ...]:
            return tuple(d.dim_value or -1 for d in self._tensor(name).shape.dim)

        def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[tuple[int, ...]]:
            return [(batch, *self.get_tensor_shape(name)[1:]) for batch in self._profiles[profile_index]]

        def create_execution_context(self) -> Any:
            if cuda.used + CONTEXT_BYTES > cuda.total:
                self._logger.log(ILogger.Severity.ERROR, "createExecutionContext: Cuda Runtime (out of memory)")
                return None
            return IExecutionContext(self)

        def create_engine_inspector(self) -> Any:
            return EngineInspector(self._nodes)

        def _tensor(self, name: str) -> Any:
            return next(t for t in self._tensors if t.name == name).type.tensor_type

        def _item_bytes(self, name: str) -> int:
            itemsize = {"UINT8": 1, "FLOAT": 4, "HALF": 2}[self.get_tensor_dtype(name).name]
            return math.prod(self.get_tensor_shape(name)[1:]) * itemsize

    class IExecutionContext(_Strict):
        def __init__(self, engine: Any) -> None:
            _, address = cuda.cudaMalloc(CONTEXT_BYTES)
            weakref.finalize(self, cuda.cudaFree, address)
            self._engine, self._addresses, self._generation = engine, {}, 0
            self._profile: int | None = None
            self._shape: tuple[int, ...] | None = None
            self._seen = False

        profiler = _Setting()

        def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
            user = self._engine._in_use.get(profile_index, lambda: None)()
            if not self._engine._sharing and user not in (None, self):
                return self._fail(f"Profile {profile_index} is used by another execution context.")
            self._engine._in_use[profile_index] = weakref.ref(self)
            self._profile, self._shape = profile_index, None
            return True

        def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
            if self._profile is None:
                return self._fail("No optimization profile has been set.")
            low, _, high = self._engine._profiles[self._profile]
            if not low <= shape[0] <= high or shape[1:] != self._engine.get_tensor_shape(name)[1:]:
                return self._fail(f"{name} of shape {shape} does not satisfy any optimization profiles.")
            if shape != self._shape:
                self._generation += 1
                self._seen = False
            self._shape = shape
            return True

        def set_tensor_address(self, name: str, memory: int) -> bool:
            self._addresses[name] = memory
            return True

        def execute_async_v3(self, stream_handle: int) -> bool:
            engine, stream = self._engine, cuda.stream(stream_handle)
            source, target = (tensor.name for tensor in engine._tensors)
            if self._shape is None:
                return self._fail("Not all input shapes are specified.")
            batch = self._shape[0]
            for name in (source, target):
                if not cuda.within("device", self._addresses.get(name, 0), batch * engine._item_bytes(name)):
                    return self._fail(f"The address of {name} is not device memory of its size.")
            if stream.captured is not None and not self._seen:
                return self._fail("A capture needs one run of the shape before it.")
            self._seen = True
            stream.put(self._work(self._addresses[source], self._addresses[target], self._shape, self._generation))
            if self.profiler is not None:
                stream.run()
                for name in engine._nodes:
                    self.profiler.report_layer_time(name, 0.125)
            return True

        def _work(self, source: int, target: int, shape: tuple[int, ...], generation: int) -> Any:
            dtype = {"UINT8": np.uint8, "FLOAT": np.float32, "HALF": np.float16}[
                self._engine.get_tensor_dtype(self._engine._tensors[0].name).name
            ]
            this = weakref.ref(self)  # a graph does not keep its context alive
            model = self._engine._model

            def work() -> None:
                context = this()
                cuda.require(context is not None, "a run after its context was destroyed")
                assert context is not None
                cuda.require(context._generation == generation, "a graph of another shape was launched")
                content = ctypes.string_at(source, math.prod(shape) * np.dtype(dtype).itemsize)
                result = run_onnx(model)(np.frombuffer(content, dtype).reshape(shape))
                ctypes.memmove(target, result.tobytes(), result.nbytes)

            return work

        def _fail(self, reason: str) -> bool:
            self._engine._logger.log(ILogger.Severity.ERROR, f"IExecutionContext: {reason}")
            return False

    fakes = [value for value in locals().values() if isinstance(value, type) and value.__name__ in facts["classes"]]
    for name, members in enums.items():
        setattr(trt, name, members)
    for fake in fakes:
        _cut(fake, facts["classes"][fake.__name__]["members"])
        setattr(trt, fake.__name__, fake)
    del trt.Severity  # type: ignore[attr-defined]  # it is only found within ILogger
    trt.builds, trt.load_warnings = builds, load_warnings  # type: ignore[attr-defined]
    if release == RTX:
        complete(trt)
    return trt


def _cut(fake: type, members: dict[str, Any]) -> None:
    """Remove from a class what its release does not have."""
    for name in [name for name in vars(fake) if not name.startswith("_")]:
        if name not in members:
            delattr(fake, name)
