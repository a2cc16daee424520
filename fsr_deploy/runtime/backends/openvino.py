"""OpenVINO behind the Session protocol, on the CPU or another device that it has a plug-in for."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from functools import cache
from queue import SimpleQueue
from typing import Any

import numpy as np

from fsr_deploy._util import imports
from fsr_deploy._util.cores import physical_cores
from fsr_deploy.bundle.engine_file import EngineFile
from fsr_deploy.bundle.info import INT8_BF16
from fsr_deploy.errors import InputError, MissingError
from fsr_deploy.runtime.backends.graphs import facts_of, is_out_of_memory, refuse_other_batches, refuse_other_graphs
from fsr_deploy.runtime.backends.openvino_cache import compile_or_load, fingerprint
from fsr_deploy.runtime.backends.openvino_pairs import FORM, join_pairs
from fsr_deploy.runtime.machine import multiplies_int8_exactly
from fsr_deploy.runtime.session import OPENVINO, Batch, EngineInfo, OutOfMemory

ANY_SIZE = 0
MOST_SIZES = 8  # batch sizes that get a model of their own; all others share one for any size, which is slower


class OpenVinoSession:
    """A graph with uint8 faces in and out, compiled by OpenVINO for one of its devices.

    ``device`` is "CPU", or the name of another device that OpenVINO finds here: "GPU", "GPU.1", "NPU". What is FP32 is
    computed in FP32, or with ``bf16`` in BF16. ``throughput`` runs as many batches at the same time as there are
    physical cores, each on its own, instead of one on all; ``cores`` is how many to use, None for all. A batch of a new
    size compiles the graph for it. ``file`` is the graph's, ``hardware`` the device's full name and what it can
    compute.

    Raises MissingError where OpenVINO, the device, or what the device needs for this graph is missing, and InputError
    for a graph that is damaged or has other inputs and outputs.
    """

    def __init__(
        self,
        file: EngineFile,
        device: str = "CPU",
        *,
        bf16: bool = False,
        throughput: bool = False,
        cores: int | None = None,
    ) -> None:
        openvino = imports.load("openvino")
        version = "-".join(openvino.__version__.split("-")[:2])  # what follows names its sources
        self.file = file
        self._refusal = f"{file.path}: OpenVINO {version} refuses it"
        self._core = core()
        self._device = _find(self._core, version, device)
        self._model = self._read()
        self._joined = join_pairs(self._model)
        self._fixed = self._model.inputs[0].partial_shape[0].is_static
        facts = facts_of(file, _metadata(self._model), on_cpu=self._device == "CPU")
        graph = facts["precision"]
        in_place_of_fp32 = graph == INT8_BF16 or (bf16 and graph != "bf16")
        bf16 = in_place_of_fp32 or graph == "bf16"
        facts["precision"] = _precision(graph, bf16)
        capabilities = self._core.get_property(self._device, "OPTIMIZATION_CAPABILITIES")
        self._check(bf16, capabilities, graph)
        self.hardware = f"{self._core.get_property(self._device, 'FULL_DEVICE_NAME')}: {', '.join(capabilities)}"
        self._settings = _settings(
            in_place_of_fp32, throughput, cores or physical_cores(), on_cpu=self._device == "CPU"
        )
        made_of = (openvino.__version__, self._device, self.hardware, self._settings, file.sha256)
        self._made_of = fingerprint(*made_of, *([FORM] if self._joined else []))
        self._requests: dict[int, SimpleQueue[Any]] = {}
        self._compiling = threading.Lock()
        self.info = EngineInfo(
            engine=f"OpenVINO {version} ({self._device}, {'BF16' if bf16 else 'FP32'})",
            device="cpu" if self._device == "CPU" else f"{OPENVINO}{self._device}",
            sha256=file.sha256,
            lr_shape=_face_shape(self._model.inputs[0]),
            sr_shape=_face_shape(self._model.outputs[0]),
            max_batch=1 if self._fixed else None,
            **facts,
        )
        try:
            self.in_flight = self._requests_for(self.info.best_batch).qsize()
        except OutOfMemory as error:
            raise MissingError(f"{file.path}: does not fit into the device's memory: {error}") from error

    def upscale(self, batch: Batch) -> Batch:
        """Turn (N, h, w, 3) uint8 RGB LR faces into (N, H, W, 3) uint8 RGB SR faces."""
        refuse_other_batches(batch, self.info.lr_shape)
        requests = self._requests_for(len(batch))
        request = requests.get()
        try:
            # The result is the request's own buffer, which its next batch overwrites.
            return request.infer([np.ascontiguousarray(batch)])[0].copy()
        except Exception as error:
            if is_out_of_memory(error):
                raise OutOfMemory(f"batch {len(batch)} on {self.info.device}: {_reason(error)}") from error
            raise
        finally:
            requests.put(request)

    def close(self) -> None:
        """Free the models; the session cannot be used afterwards."""
        del self._requests, self._model

    def _read(self) -> Any:
        try:
            model = self._core.read_model(self.file.content)
        except RuntimeError as error:
            raise InputError(f"{self._refusal}: {_reason(error)}") from error
        ports = (*model.inputs, *model.outputs)
        fits = len(model.inputs) == len(model.outputs) == 1 and all(map(_is_faces, ports))
        refuse_other_graphs(self.file.path, fits, ", ".join(map(_described, ports)))
        return model

    def _check(self, bf16: bool, capabilities: Sequence[str], graph: str) -> None:
        """Raise MissingError where the device cannot compute the graph, of this precision, as it is asked to."""
        if bf16 and "BF16" not in capabilities:
            raise MissingError(
                f"{self.file.path}: OpenVINO computes no BF16 on this {self._device}"
                + (
                    "; run it on one that does"
                    if graph in ("bf16", INT8_BF16)
                    else "; openvino without -bf16 runs it as it is"
                )
            )
        if self._device == "CPU" and _has_int8(self._model) and not multiplies_int8_exactly():
            raise MissingError(
                f"{self.file.path}: an INT8 engine, and this CPU has no VNNI, without which OpenVINO's sums of 8-bit"
                " products overflow; run it with --backend onnxruntime"
            )

    def _requests_for(self, batch: int) -> SimpleQueue[Any]:
        """Return the free requests of the model for a batch size, which is compiled if it is the first of that size."""
        with self._compiling:
            known = batch in self._requests or len(self._requests) < MOST_SIZES
            size = 1 if self._fixed else batch if known else ANY_SIZE
            if size not in self._requests:
                model = self._compile(size)
                requests: SimpleQueue[Any] = SimpleQueue()
                for _ in range(model.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")):
                    requests.put(model.create_infer_request())
                self._requests[size] = requests
            return self._requests[size]

    def _compile(self, size: int) -> Any:
        """Compile the graph for one batch size: that is faster than for any size."""
        try:
            model = self._model.clone()
            if size != ANY_SIZE and not self._fixed:
                _, *face = model.inputs[0].partial_shape
                model.reshape([size, *face])
            return compile_or_load(
                self._core, model, self._device, self._settings, fingerprint(self._made_of, f"batch {size}")
            )
        except (RuntimeError, MemoryError) as error:
            if is_out_of_memory(error):
                raise OutOfMemory(f"batch {size} on {self._device}: {_reason(error)}") from error
            raise InputError(f"{self._refusal}: {_reason(error)}") from error


@cache
def core() -> Any:
    """Return OpenVINO's core, one for the whole process. Raises MissingError where there is no OpenVINO.

    Its plug-in for CPUs lends the thread a stack for signals, and takes it away when its core goes. Of several cores it
    leaves the stack of one that is gone, and the next signal, a Ctrl-C, ends the process without a word (2026.4).
    """
    openvino = imports.load("openvino")
    # The first tensor that is read as an array sets up what all others need. Where two threads do that at the same
    # time, each waits for the other for ever (2026.4).
    openvino.Tensor(np.zeros(1, np.uint8)).data  # noqa: B018
    return openvino.Core()


def _find(core: Any, version: str, device: str) -> str:
    """Return a device as OpenVINO names it; "GPU" also stands for the first of several."""
    found = core.available_devices
    if device in found or any(name.startswith(f"{device}.") for name in found):
        return device
    raise MissingError(
        f"--device {OPENVINO}{device}: OpenVINO {version} finds no such device here; it finds "
        + ", ".join(f"{OPENVINO}{name}" for name in found)
    )


def _settings(bf16: bool, throughput: bool, cores: int, *, on_cpu: bool) -> dict[str, Any]:
    """Return the settings of a session.

    The precision is always named: on its own, OpenVINO computes FP32 graphs in BF16 where the CPU can, several levels
    off, and on a GPU in FP16. FP16 is never asked for: on a CPU it is slower than everything else. ``bf16`` computes
    what is FP32 in BF16. A graph that is typed in BF16 does not need it: where the CPU has BF16, OpenVINO computes each
    operation in its own type, those that stay in FP32 included.
    """
    settings: dict[str, Any] = {
        "PERFORMANCE_HINT": "THROUGHPUT" if throughput else "LATENCY",
        "INFERENCE_PRECISION_HINT": "bf16" if bf16 else "f32",
    }
    if on_cpu:  # it knows this process's affinity, but no quota of a container
        settings["INFERENCE_NUM_THREADS"] = cores
        settings["NUM_STREAMS"] = cores if throughput else 1
    return settings


def _precision(graph: str, bf16: bool) -> str:
    """Return what is computed in: the precision of the graph, and BF16 in place of its FP32."""
    if not bf16 or graph == "bf16":
        return graph
    return INT8_BF16 if graph.startswith("int8") else "bf16"


def _metadata(model: Any) -> Mapping[str, str]:
    """Return the metadata of an ONNX graph: OpenVINO keeps it as its facts about the "framework"."""
    if not model.has_rt_info("framework"):
        return {}
    return {str(key): str(value) for key, value in model.get_rt_info("framework").value.items()}


def _has_int8(model: Any) -> bool:
    return any(node.get_type_name() == "FakeQuantize" for node in model.get_ops())


def _is_faces(port: Any) -> bool:
    shape = port.partial_shape
    if port.element_type.to_string() != "u8" or shape.rank.is_dynamic or len(shape) != 4:
        return False
    batch, *size = shape
    fixed = all(n.is_static and n.get_length() > 0 for n in size) and size[2].get_length() == 3
    return fixed and (batch.is_dynamic or batch.get_length() == 1)


def _described(port: Any) -> str:
    return f"{port.any_name} {port.element_type.to_string()} {port.partial_shape}"


def _face_shape(port: Any) -> tuple[int, int]:
    height, width = (port.partial_shape[axis].get_length() for axis in (1, 2))
    return height, width


def _reason(error: Exception) -> str:
    """Return the sentence of an OpenVINO error, without the places in its source."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if not line.startswith(("Exception from", "Check '"))]
    return (told or lines or [type(error).__name__])[0]
