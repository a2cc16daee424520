"""OpenVINO behind the Session protocol, on the CPU or another device that it has a plug-in for."""

from __future__ import annotations

import threading
from queue import SimpleQueue
from typing import Any

import numpy as np

from fsr_deploy._util import imports
from fsr_deploy._util.cores import physical_cores
from fsr_deploy.bundle.engine_file import EngineFile
from fsr_deploy.errors import InputError, MissingError
from fsr_deploy.runtime.backends.batches import is_out_of_memory, refuse_other_batches, refuse_other_graphs
from fsr_deploy.runtime.backends.openvino_cache import compile_or_load, fingerprint
from fsr_deploy.runtime.machine import multiplies_int8_exactly
from fsr_deploy.runtime.session import Batch, EngineInfo, OutOfMemory

DEVICE = "openvino:"  # what users write before the name of one of its devices
ANY_SIZE = 0
MOST_SIZES = 8  # batch sizes that get a model of their own; all others share one for any size, which is slower


class OpenVinoSession:
    """A graph with uint8 faces in and out, compiled by OpenVINO for one of its devices.

    ``device`` is "CPU", or the name of another device that OpenVINO finds here: "GPU", "GPU.1", "NPU". What is FP32 is
    computed in FP32, or with ``bf16`` in BF16. ``throughput`` runs as many batches at the same time as there are
    physical cores, each on its own, instead of one on all. A batch of a new size compiles the graph for it. ``file`` is
    the graph's, ``hardware`` the device's full name and what it can compute.

    Raises MissingError where OpenVINO, the device, or what the device needs for this graph is missing, and InputError
    for a graph that is damaged or has other inputs and outputs.
    """

    def __init__(self, file: EngineFile, device: str = "CPU", *, bf16: bool = False, throughput: bool = False) -> None:
        openvino = imports.load("openvino")
        version = "-".join(openvino.__version__.split("-")[:2])  # what follows names its sources
        self.file = file
        self._core = openvino.Core()
        self._device = _find(self._core, version, device)
        on_cpu = self._device == "CPU"
        bundle = file.bundle
        precision = bundle.precision if bundle else "unknown"
        bf16 = bf16 or precision == "bf16"
        capabilities = self._core.get_property(self._device, "OPTIMIZATION_CAPABILITIES")
        if bf16 and "BF16" not in capabilities:
            raise MissingError(
                f"{file.path}: this {self._device} computes no BF16, OpenVINO says; run it in FP32: --backend openvino"
                if precision != "bf16"
                else f"{file.path}: a BF16 engine, and OpenVINO says that this {self._device} computes no BF16"
            )
        self.hardware = f"{self._core.get_property(self._device, 'FULL_DEVICE_NAME')}: {', '.join(capabilities)}"
        self._refusal = f"{file.path}: OpenVINO {version} refuses it"
        self._settings = _settings(bf16, throughput, on_cpu)
        self._made_of = fingerprint(openvino.__version__, self._device, self.hardware, self._settings, file.sha256)
        self._model = self._read(file)
        if on_cpu and _has_int8(self._model) and not multiplies_int8_exactly():
            raise MissingError(
                f"{file.path}: an INT8 engine, and this CPU has no VNNI, without which OpenVINO's sums of 8-bit"
                " products overflow; run it with --backend onnxruntime"
            )
        batch = self._model.inputs[0].partial_shape[0]
        self._fixed = batch.is_static
        # On a CPU a batch is no faster per face than single faces.
        best_batch = 1 if on_cpu or bundle is None or self._fixed else bundle.batches[1]
        self._requests: dict[int, SimpleQueue[Any]] = {}
        self._compiling = threading.Lock()
        self.in_flight = self._requests_for(best_batch).qsize()
        self.info = EngineInfo(
            engine=f"OpenVINO {version} ({self._device}, {'BF16' if bf16 else 'FP32'})",
            device="cpu" if on_cpu else f"{DEVICE}{self._device}",
            precision=_precision(precision, bf16),
            sha256=file.sha256,
            lr_shape=_face_shape(self._model.inputs[0]),
            sr_shape=_face_shape(self._model.outputs[0]),
            best_batch=best_batch,
            max_batch=1 if self._fixed else None,
            trained=bundle.trained if bundle else None,
            notes=bundle.notes if bundle else (),
            resizable=bundle.resizable if bundle else None,
        )

    def upscale(self, batch: Batch) -> Batch:
        """Turn (N, h, w, 3) uint8 RGB LR faces into (N, H, W, 3) uint8 RGB SR faces."""
        refuse_other_batches(batch, self.info.lr_shape)
        try:
            requests = self._requests_for(len(batch))
            request = requests.get()
            try:
                # The result is the request's own buffer, which its next batch overwrites.
                return request.infer([np.ascontiguousarray(batch)])[0].copy()
            finally:
                requests.put(request)
        except Exception as error:
            if is_out_of_memory(error):
                raise OutOfMemory(f"batch {len(batch)} on {self.info.device}: {_reason(error)}") from error
            raise

    def close(self) -> None:
        """Free the models; the session cannot be used afterwards."""
        del self._requests, self._model

    def _read(self, file: EngineFile) -> Any:
        try:
            model = self._core.read_model(file.content)
        except RuntimeError as error:
            raise InputError(f"{self._refusal}: {_reason(error)}") from error
        ports = (*model.inputs, *model.outputs)
        fits = len(model.inputs) == len(model.outputs) == 1 and all(map(_is_faces, ports))
        refuse_other_graphs(file.path, fits, ", ".join(_described(port) for port in ports))
        return model

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
        except RuntimeError as error:
            raise InputError(f"{self._refusal}: {_reason(error)}") from error


def find_devices(core: Any) -> list[str]:
    """Return the devices that OpenVINO finds here and can use: "CPU", "GPU.0", "NPU"."""
    return list(core.available_devices)


def _find(core: Any, version: str, device: str) -> str:
    """Return a device as OpenVINO names it; "GPU" also stands for the first of several."""
    found = find_devices(core)
    if device in found or any(name.startswith(f"{device}.") for name in found):
        return device
    raise MissingError(
        f"--device {DEVICE}{device}: OpenVINO {version} finds no such device here; it finds "
        + ", ".join(f"{DEVICE}{name}" for name in found)
    )


def _settings(bf16: bool, throughput: bool, on_cpu: bool) -> dict[str, Any]:
    """Return the settings of a session.

    The precision is always named: on its own, OpenVINO computes FP32 graphs in BF16 where the CPU can, several levels
    off, and on a GPU in FP16. FP16 is never asked for: on a CPU it is slower than everything else.
    """
    settings: dict[str, Any] = {
        "PERFORMANCE_HINT": "THROUGHPUT" if throughput else "LATENCY",
        "INFERENCE_PRECISION_HINT": "bf16" if bf16 else "f32",
    }
    if on_cpu:  # it knows this process's affinity, but no quota of a container
        cores = physical_cores()
        settings["INFERENCE_NUM_THREADS"] = cores
        settings["NUM_STREAMS"] = cores if throughput else 1
    return settings


def _precision(graph: str, bf16: bool) -> str:
    """Return what is computed in: the precision of the graph, and BF16 in place of its FP32."""
    if not bf16 or graph == "bf16":
        return graph
    return "int8+bf16" if graph.startswith("int8") else "bf16"


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
