"""ONNX Runtime behind the Session protocol, on the CPU or a GPU."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from fsr_deploy._util import imports
from fsr_deploy._util.cores import physical_cores
from fsr_deploy._util.log import warn
from fsr_deploy.bundle.engine_file import EngineFile
from fsr_deploy.bundle.info import MIXED, MIXES
from fsr_deploy.bundle.onnx_wire import read_metadata
from fsr_deploy.errors import InputError, MissingError
from fsr_deploy.runtime.backends.graphs import facts_of, is_out_of_memory, refuse_other_batches, refuse_other_graphs
from fsr_deploy.runtime.machine import multiplies_int8_exactly
from fsr_deploy.runtime.session import Batch, EngineInfo, OutOfMemory

CUDA_PROVIDER = "CUDAExecutionProvider"
CPU_PROVIDER = "CPUExecutionProvider"
EXACT_PRODUCTS = "session.x64quantprecision"
BIASES_IN_STEPS = "WeightBiasQuantization"
SHARED_WEIGHTS = "Attempt to replace the existing tensor"  # 1.32's error when it cannot copy shared weights


class OnnxSession:
    """A graph with uint8 faces in and out, run by ONNX Runtime.

    ``device`` is "auto", "cpu" or "cuda:N"; "auto" takes the GPU where ONNX Runtime can use one. Raises InputError for
    a graph that is damaged or has other inputs and outputs, and MissingError where ONNX Runtime or its CUDA provider is
    missing. ``profile`` is the start of the name of a file in which ONNX Runtime records each kernel's time, until
    ``finish_profile``. ``throughput`` gives each batch one CPU core and runs as many batches at the same time as there
    are cores: higher latency, higher throughput. ``cores`` is how many physical cores to use, None for all.
    """

    def __init__(
        self,
        file: EngineFile,
        device: str = "auto",
        profile: Path | None = None,
        *,
        throughput: bool = False,
        cores: int | None = None,
    ) -> None:
        ort = imports.load("onnxruntime")
        cores = cores or physical_cores()
        options = partial(session_options, ort, 1 if throughput else cores, profile)
        session, provider, device = create_session(ort, file, device, options)
        lr_shape, sr_shape = _face_shapes(session, file.path)
        facts = facts_of(file, session.get_modelmeta().custom_metadata_map, on_cpu=device == "cpu")
        if device == "cpu" and facts["precision"] == MIXED and not rounds_fp16(ort.__version__):
            raise MissingError(
                f"{file.path}: ONNX Runtime {ort.__version__} truncates FP16 values where they have to be rounded to "
                "INT8; upgrade it with: pip install 'onnxruntime>=1.30' (or run the plan of this bundle on a GPU)"
            )
        self._session = session
        self._input = session.get_inputs()[0].name
        self.in_flight = cores if throughput and device == "cpu" else 1
        self.info = EngineInfo(
            engine=f"ONNX Runtime {ort.__version__} ({provider})",
            device=device,
            sha256=file.sha256,
            lr_shape=lr_shape,
            sr_shape=sr_shape,
            max_batch=1 if session.get_inputs()[0].shape[0] == 1 else None,
            **facts,
        )

    def upscale(self, batch: Batch) -> Batch:
        """Turn (N, h, w, 3) uint8 RGB LR faces into (N, H, W, 3) uint8 RGB SR faces."""
        refuse_other_batches(batch, self.info.lr_shape)
        try:
            return self._session.run(None, {self._input: np.ascontiguousarray(batch)})[0]
        except Exception as error:
            if is_out_of_memory(error):
                raise OutOfMemory(f"batch {len(batch)} on {self.info.device}: {_first_line(error)}") from error
            raise

    def finish_profile(self) -> Path:
        """Return the file of the profile that was asked for, complete: a JSON list of trace events."""
        return Path(self._session.end_profiling())

    def close(self) -> None:
        """Free the session; it cannot be used afterwards."""
        del self._session


def create_session(ort: ModuleType, file: EngineFile, device: str, options: Callable[..., Any]) -> tuple[Any, str, str]:
    """Return the session, the provider that is really used, and its device."""
    cuda_listed = CUDA_PROVIDER in ort.get_available_providers()
    if device.startswith("cuda") and not cuda_listed:
        raise MissingError(
            f"--device {device}: this ONNX Runtime has no CUDA provider; install the one that has:"
            f" {imports.uninstall(imports.ONNXRUNTIMES)}; pip install 'fsr-deploy[gpu]' (or run with --device cpu)"
        )
    if device == "cpu" or not cuda_listed:
        return _start(ort, file, [CPU_PROVIDER], options), CPU_PROVIDER, "cpu"
    index = "0" if device == "auto" else device.removeprefix("cuda:")
    not_found = _preload_cuda(ort)
    session = _start(ort, file, [(CUDA_PROVIDER, cuda_options(index)), CPU_PROVIDER], options)
    if session.get_providers()[0] == CUDA_PROVIDER:
        return session, CUDA_PROVIDER, f"cuda:{index}"
    if device == "auto":
        warn(f"ONNX Runtime's CUDA provider does not start here{not_found}; running on the CPU")
        return _start(ort, file, [CPU_PROVIDER], options), CPU_PROVIDER, "cpu"
    raise MissingError(
        f"--device {device}: the CUDA provider of ONNX Runtime does not start here{not_found}; check the driver with"
        " nvidia-smi, add CUDA and cuDNN with: pip install 'onnxruntime-gpu[cuda,cudnn]', or run with --device cpu"
    )


def _preload_cuda(ort: ModuleType) -> str:
    """Load CUDA and cuDNN from pip's packages (ONNX Runtime 1.21 and newer); returns in brackets what is missing."""
    if not hasattr(ort, "preload_dlls"):
        return ""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):  # standard output is for results
        ort.preload_dlls()
    lines = [line.strip() for line in printed.getvalue().splitlines() if line.startswith("Failed to load")]
    return f" ({lines[0]})" if lines else ""


def rounds_fp16(version: str) -> bool:
    """Tell whether an ONNX Runtime rounds FP16 values to INT8 on a CPU; versions 1.23 to 1.29 truncate them."""
    major, minor = version.split(".")[:2]
    return (int(major), int(minor)) >= (1, 30)


def cuda_options(index: str) -> dict[str, str]:
    """Return the CUDA provider's options: no TF32, and memory grows only as needed."""
    return {"device_id": index, "use_tf32": "0", "arena_extend_strategy": "kSameAsRequested"}


def session_options(
    ort: ModuleType, threads: int | None = None, profile: Path | None = None, *, exact: bool = True
) -> Any:
    """Return session options; each that differs from the default was measured, or is for safety. ``threads`` None means
    one per physical core; ``profile`` is the start of the name of a file of kernel times; without ``exact``, 8-bit
    products may overflow on a CPU without VNNI, which is ONNX Runtime's default.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads or physical_cores()
    options.enable_mem_pattern = False  # no faster with it, and 20 % more memory when batches run at the same time
    options.log_severity_level = 4  # failures reach the user as exceptions
    options.add_session_config_entry("session.load_model_format", "ONNX")
    # Without VNNI the fastest 8-bit kernels add two products in 16 bits, which can overflow: wrong faces without an
    # error. With this option 8-bit weights are multiplied exactly. 7-bit weights cannot overflow and keep the fast
    # kernels. With VNNI these are exact, and the option would still take the slow ones (1.32, where there is no AMX).
    options.add_session_config_entry(EXACT_PRODUCTS, "1" if exact and not multiplies_int8_exactly() else "0")
    # Threads that wait for work during a batch spin, which is faster; between batches they sleep.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    if profile:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile)
    return options


def optimisations(model: bytes) -> dict[str, list[str]]:
    """Return the keywords of a session that keep ONNX Runtime from an optimisation that a graph does not survive.

    Since 1.21 it rounds the bias of a convolution between two pairs to steps of the product of their scales. Where the
    scales are FP16, it divides in FP16: more than 65504 steps are infinite, and the bias is wrong without an error. In
    FP32 that is harmless, and its INT8 convolutions need it.
    """
    return {"disabled_optimizers": [BIASES_IN_STEPS]} if read_metadata(model).get("fsr.precision") in MIXES else {}


def _start(ort: ModuleType, file: EngineFile, providers: list[Any], options: Callable[..., Any]) -> Any:
    try:
        return ort.InferenceSession(file.content, options(), providers=providers, **optimisations(file.content))
    except Exception as error:
        if SHARED_WEIGHTS in str(error):
            warn(
                f"{file.path}: some of its convolutions share INT8 weights, which keeps ONNX Runtime {ort.__version__}"
                " from multiplying them exactly on this CPU: sums may overflow and faces be wrong; quantise the network"
                " with fsr-export --int8, or give each convolution a copy of its weights"
            )
            return ort.InferenceSession(
                file.content, options(exact=False), providers=providers, **optimisations(file.content)
            )
        if is_out_of_memory(error):
            raise MissingError(f"{file.path}: does not fit into the device's memory: {_first_line(error)}") from error
        raise InputError(f"{file.path}: ONNX Runtime {ort.__version__} refuses it: {_first_line(error)}") from error


def _face_shapes(session: Any, path: Path) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return (h, w) and (H, W); raises InputError where input and output are not one batch of uint8 faces each."""
    inputs, outputs = session.get_inputs(), session.get_outputs()
    fits = len(inputs) == len(outputs) == 1 and _is_faces(inputs[0]) and _is_faces(outputs[0])
    refuse_other_graphs(
        path, fits, ", ".join(f"{value.name} {value.type} {value.shape}" for value in (*inputs, *outputs))
    )
    return tuple(inputs[0].shape[1:3]), tuple(outputs[0].shape[1:3])


def _is_faces(value: Any) -> bool:
    batch, *size = value.shape or [0]
    fixed_size = len(size) == 3 and all(isinstance(n, int) and n > 0 for n in size) and size[2] == 3
    return value.type == "tensor(uint8)" and fixed_size and (not isinstance(batch, int) or batch == 1)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
