"""A loaded plan and its execution contexts; ONNX Runtime computes the graph, in CUDA's order (tests.fakes.cuda)."""

from __future__ import annotations

import base64
import ctypes
import functools
import json
import math
import weakref
from typing import Any

import numpy as np
import onnx
import onnxruntime

from tests.fakes.tensorrt.base import Setting, Strict, dtype_of

CONTEXT_BYTES = 1 << 20


@functools.cache
def run_onnx(model: bytes) -> Any:
    """Return a function that runs a graph of one input and one output."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda batch: session.run(None, {name: batch})[0]


class Runtime(Strict):
    def __init__(self, logger: Any) -> None:
        assert isinstance(logger, self._trt.ILogger)
        self._logger = logger

    engine_host_code_allowed = Setting(False)

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> Any:
        try:
            plan = json.loads(serialized_engine[28:])
        except ValueError:
            self._logger.log(self._trt.ILogger.Severity.ERROR, "Serialization assertion plan->header.size failed.")
            return None
        for line in self._trt.load_warnings:
            self._logger.log(self._trt.ILogger.Severity.WARNING, line)
        return self._trt.ICudaEngine(plan, self._logger)


class EngineInspector(Strict):
    def __init__(self, names: list[str]) -> None:
        self._names = names

    def get_engine_information(self, format: Any) -> str:
        assert format == self._trt.LayerInformationFormat.__members__["JSON"]
        text = json.dumps({"Layers": [{"Name": name, "Metadata": f"[ONNX Layer: {name}]"} for name in self._names]})
        return text.replace("[ONNX Layer: ", "[ONNX Layer: \x1e")  # characters between layers' names, not escaped


class ICudaEngine(Strict):
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
        return self._trt.TensorIOMode.__members__["INPUT" if name == self._tensors[0].name else "OUTPUT"]

    def get_tensor_dtype(self, name: str) -> Any:
        return dtype_of(self._trt, self._tensor(name).elem_type)

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return tuple(d.dim_value or -1 for d in self._tensor(name).shape.dim)

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[tuple[int, ...]]:
        return [(batch, *self.get_tensor_shape(name)[1:]) for batch in self._profiles[profile_index]]

    def create_execution_context(self) -> Any:
        if self._trt.cuda.used + CONTEXT_BYTES > self._trt.cuda.total:
            self._logger.log(self._trt.ILogger.Severity.ERROR, "createExecutionContext: Cuda Runtime (out of memory)")
            return None
        return self._trt.IExecutionContext(self)

    def create_engine_inspector(self) -> Any:
        return self._trt.EngineInspector(self._nodes)

    def _tensor(self, name: str) -> Any:
        return next(t for t in self._tensors if t.name == name).type.tensor_type

    def _item_bytes(self, name: str) -> int:
        itemsize = {"UINT8": 1, "FLOAT": 4, "HALF": 2}[self.get_tensor_dtype(name).name]
        return math.prod(self.get_tensor_shape(name)[1:]) * itemsize


class IExecutionContext(Strict):
    def __init__(self, engine: Any) -> None:
        _, address = self._trt.cuda.cudaMalloc(CONTEXT_BYTES)
        weakref.finalize(self, self._trt.cuda.cudaFree, address)
        self._engine, self._addresses, self._generation = engine, {}, 0
        self._profile: int | None = None
        self._shape: tuple[int, ...] | None = None
        self._seen = False

    profiler = Setting()

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
        engine, stream = self._engine, self._trt.cuda.stream(stream_handle)
        source, target = (tensor.name for tensor in engine._tensors)
        if self._shape is None:
            return self._fail("Not all input shapes are specified.")
        batch = self._shape[0]
        for name in (source, target):
            if not self._trt.cuda.within("device", self._addresses.get(name, 0), batch * engine._item_bytes(name)):
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
        model, cuda = self._engine._model, self._trt.cuda

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
        self._engine._logger.log(self._trt.ILogger.Severity.ERROR, f"IExecutionContext: {reason}")
        return False
