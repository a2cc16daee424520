"""Open what a user names as a session."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from fsr_deploy._util.cores import physical_cores
from fsr_deploy._util.files import is_folder, status
from fsr_deploy._util.log import warn
from fsr_deploy.bundle.engine_file import read_engine_file
from fsr_deploy.bundle.info import ONNX_NAME, PLAN_NAME, BundleInfo, read_bundle
from fsr_deploy.errors import InputError, MissingError, UsageError, refuse_unknown
from fsr_deploy.runtime.cuda.driver import find_driver
from fsr_deploy.runtime.session import OPENVINO, Session, engine_kind
from fsr_deploy.runtime.several import SeveralSessions

ALL_GPUS = "cuda:all"
BACKENDS = ("onnxruntime", "openvino", "openvino-bf16")  # what runs a graph; the last computes its FP32 in BF16


def open_session(
    path: str | Path,
    device: str = "auto",
    *,
    backend: str | None = None,
    trust: bool = False,
    throughput: bool = False,
    cores: int | None = None,
) -> Session:
    """Load an engine: a bundle, its ``engine.plan`` or ``model.onnx``, or a ``.onnx`` file from elsewhere.

    ``device`` is "cpu", "cuda", "cuda:1", "openvino:CPU" or another device of OpenVINO's, or "auto" for the fastest one
    here. Several, as "cuda:0,cuda:1" or "cuda:all", are a SeveralSessions. Of a bundle, the plan runs where TensorRT
    is, otherwise the graph. ``backend`` names what runs the graph, one of BACKENDS, and then the plan is left aside;
    None is what the bundle was proven with. ``trust`` allows a plan without a bundle: loading a plan can run code.
    ``throughput`` is for many batches: the highest total rate instead of the lowest latency. Then call ``upscale`` from
    as many threads as the session's ``in_flight`` says. ``cores`` is how many of the CPU to use, None for all.

    Raises UsageError for devices and back ends that do not exist or fit together, InputError for files that are not
    what they should be and MissingError for a device or library that is not on this machine.
    """
    devices = parse_devices(device)
    wanted = [_Wanted(one, check_backend(backend, one), trust, throughput, cores) for one in devices]
    if len(wanted) == 1:
        return _open(Path(path), wanted[0])
    with ExitStack() as stack:
        sessions = []
        for number, one in enumerate(wanted):
            # Sessions on the CPU share its cores; what is left over goes to the last ones.
            share = max(((cores or physical_cores()) + number) // len(wanted), 1)
            sessions.append(_open(Path(path), replace(one, cores=share)))
            stack.callback(sessions[-1].close)
        several = SeveralSessions(sessions)
        _refuse_other_gpus(device, devices)
        stack.pop_all()
    return several


def check_backend(backend: str | None, device: str) -> str | None:
    """Return the back end that is asked for, by its name or by that of one of OpenVINO's devices.

    Raises UsageError for an unknown one, and for one that does not run on ``device``.
    """
    if backend is not None:
        refuse_unknown("--backend", backend, BACKENDS)
    if device.startswith(OPENVINO):
        if backend == "onnxruntime":
            raise UsageError(f"--backend onnxruntime does not run on --device {device}; leave one of them out")
        return backend or "openvino"
    if backend in BACKENDS[1:] and device.startswith("cuda"):
        raise UsageError(f"--backend {backend} does not run on --device {device}; leave one of them out")
    return backend


def unproven_bundle(path: str | Path, device: str, backend: str | None = None) -> Path | None:
    """Return the bundle whose plan ``device`` would run for the first time, unproven; None where that is not so."""
    path = Path(path)
    directory = path if is_folder(path) else path.parent
    if (
        device == "cpu"
        or backend is not None
        or device.startswith(OPENVINO)
        or path not in (directory, directory / PLAN_NAME)
    ):
        return None
    try:
        plan = read_bundle(directory).info.plan
    except InputError:  # whoever opens it says so
        return None
    return directory if plan is not None and not plan.proven else None


def parse_devices(device: str) -> tuple[str, ...]:
    """Return the devices that are named with commas between them, as ``parse_device`` does; "cuda:all" is each GPU.

    A device that is named twice gets two sessions. Raises UsageError for anything else, and MissingError where all GPUs
    are asked for and there is none.
    """
    devices: list[str] = []
    for name in str(device).split(","):
        devices += _all_gpus() if name.strip() == ALL_GPUS else [parse_device(name.strip())]
    if len(devices) > 1 and "auto" in devices:
        raise UsageError(f"--device {device}: auto chooses one device by itself; name each of several")
    return tuple(devices)


def parse_device(device: str) -> str:
    """Return "auto", "cpu", "cuda:N" or "openvino:NAME"; raises UsageError for anything else, and for several."""
    if device == ALL_GPUS or "," in str(device):
        raise UsageError(f"--device {device}: only fsr-run and fsr.load take several devices; name one")
    if device == "cuda":
        return "cuda:0"
    if isinstance(device, str) and re.fullmatch(rf"{OPENVINO}[\w.]+", device):
        return OPENVINO + device.removeprefix(OPENVINO).upper()
    if device in ("auto", "cpu") or (isinstance(device, str) and re.fullmatch(r"cuda:\d+", device)):
        return device
    raise UsageError(
        f"no device is called {device!r}; the devices are: auto, cpu, cuda, cuda:0, cuda:1 ..., "
        "openvino:CPU, openvino:GPU ..."
    )


def _refuse_other_gpus(device: str, devices: Sequence[str]) -> None:
    """Raise UsageError for GPUs of different models, on which one library may compute different faces."""
    if any(name.startswith("cuda") for name in devices):
        models = {gpu.name for gpu in find_driver().gpus if f"cuda:{gpu.index}" in devices}
        if len(models) > 1:
            raise UsageError(
                f"--device {device}: {' and '.join(sorted(models))} would not give the same faces; name GPUs of one"
                " model, and run the others on frames of their own"
            )


def _all_gpus() -> list[str]:
    try:
        gpus = find_driver().gpus
        if not gpus:
            raise MissingError("the NVIDIA driver finds no GPU")
    except MissingError as error:
        raise MissingError(f"--device {ALL_GPUS}: {error}") from error
    return [f"cuda:{gpu.index}" for gpu in gpus]


def proven_with(bundle: BundleInfo | None) -> str:
    """Return the back end that a bundle's graph is for: OpenVINO if written for it, or else what its parity names."""
    if bundle and bundle.graph_target == "openvino":
        return "openvino"
    kinds = {engine_kind(str(row.get("engine", ""))) for row in bundle.parity} if bundle else set()
    if "ONNX Runtime" in kinds:
        return "onnxruntime"
    return "openvino" if any(kind.startswith("OpenVINO") for kind in kinds) else "onnxruntime"


@dataclass(frozen=True)
class _Wanted:
    """What ``open_session`` was asked for, checked; ``cores`` is how many of the CPU to use, None for all."""

    device: str
    backend: str | None
    trust: bool
    throughput: bool
    cores: int | None


def _open(path: Path, wanted: _Wanted) -> Session:
    return _open_bundle(path, wanted) if is_folder(path) else _open_file(path, wanted)


def _open_bundle(directory: Path, wanted: _Wanted) -> Session:
    """Open the bundle's best file for the device."""
    files = read_bundle(directory).info.files
    if PLAN_NAME in files and wanted.device != "cpu" and wanted.backend is None:
        try:
            return _open_file(directory / PLAN_NAME, wanted)
        except MissingError as error:
            if wanted.device != "auto" or ONNX_NAME not in files:
                raise
            plan = f"{directory / PLAN_NAME}: "
            warn(f"{plan}{str(error).removeprefix(plan)}; running {ONNX_NAME} instead")
    if ONNX_NAME not in files:
        raise InputError(f"{directory}: the bundle has no {ONNX_NAME} for this device; export it again")
    return _open_file(directory / ONNX_NAME, wanted)


def _open_file(path: Path, wanted: _Wanted) -> Session:
    if path.suffix not in (".onnx", ".plan") and status(path):
        raise InputError(f"{path}: not an engine; name a bundle, an engine.plan or a model.onnx")
    file = read_engine_file(path)
    if path.suffix == ".plan":
        if wanted.device == "cpu" or wanted.backend is not None:
            raise UsageError(f"{path}: a TensorRT plan runs on a GPU only; name the bundle or its {ONNX_NAME}")
        from fsr_deploy.runtime.tensorrt.session import TensorRTSession

        return TensorRTSession(file, wanted.device, trust=wanted.trust)
    # A GPU that is asked for by name is ONNX Runtime's.
    backend = wanted.backend or ("onnxruntime" if wanted.device.startswith("cuda") else proven_with(file.bundle))
    if backend == "onnxruntime":
        from fsr_deploy.runtime.backends.onnxruntime import OnnxSession

        return OnnxSession(file, wanted.device, throughput=wanted.throughput, cores=wanted.cores)
    from fsr_deploy.runtime.backends.openvino import OpenVinoSession

    device = wanted.device.removeprefix(OPENVINO) if wanted.device.startswith(OPENVINO) else "CPU"
    bf16 = backend == "openvino-bf16"
    return OpenVinoSession(file, device, bf16=bf16, throughput=wanted.throughput, cores=wanted.cores)
