"""Open what a user names as a session."""

from __future__ import annotations

import re
from pathlib import Path

from fsr_deploy._util.files import is_folder, status
from fsr_deploy._util.log import warn
from fsr_deploy.bundle.engine_file import read_engine_file
from fsr_deploy.bundle.info import ONNX_NAME, PLAN_NAME, read_bundle
from fsr_deploy.errors import InputError, MissingError, UsageError
from fsr_deploy.runtime.session import Session


def open_session(path: str | Path, device: str = "auto", *, trust: bool = False, throughput: bool = False) -> Session:
    """Load an engine: a bundle, its ``engine.plan`` or ``model.onnx``, or a ``.onnx`` file from elsewhere.

    ``device`` is "cpu", "cuda", "cuda:1", or "auto" for the fastest one here. Of a bundle, the plan runs where TensorRT
    is, otherwise the graph. ``trust`` allows a plan without a bundle: loading a plan can run code. ``throughput`` is
    for many batches: the highest total rate instead of the lowest latency. Then call ``upscale`` from as many threads
    as the session's ``in_flight`` says.

    Raises UsageError for another device, InputError for files that are not what they should be and MissingError
    for a device or library that is not on this machine.
    """
    device = parse_device(device)
    path = Path(path)
    return (
        _open_bundle(path, device, trust, throughput)
        if is_folder(path)
        else _open_file(path, device, trust, throughput)
    )


def unproven_bundle(path: str | Path, device: str) -> Path | None:
    """Return the bundle whose plan ``device`` would run for the first time, unproven; None where that is not so."""
    path = Path(path)
    directory = path if is_folder(path) else path.parent
    if device == "cpu" or (path != directory and path.name != PLAN_NAME):
        return None
    try:
        plan = read_bundle(directory).info.plan
    except InputError:  # whoever opens it says so
        return None
    return directory if plan is not None and not plan.proven else None


def parse_device(device: str) -> str:
    """Return "auto", "cpu" or "cuda:N"; raises UsageError for anything else."""
    if device == "cuda":
        return "cuda:0"
    if device in ("auto", "cpu") or (isinstance(device, str) and re.fullmatch(r"cuda:\d+", device)):
        return device
    raise UsageError(f"no device is called {device!r}; the devices are: auto, cpu, cuda, cuda:0, cuda:1 ...")


def _open_bundle(directory: Path, device: str, trust: bool, throughput: bool) -> Session:
    """Open the bundle's best file for the device."""
    files = read_bundle(directory).info.files
    if PLAN_NAME in files and device != "cpu":
        try:
            return _open_file(directory / PLAN_NAME, device, trust, throughput)
        except MissingError as error:
            if device != "auto" or ONNX_NAME not in files:
                raise
            warn(f"{directory / PLAN_NAME}: {error}; running {ONNX_NAME} instead")
    if ONNX_NAME not in files:
        raise InputError(f"{directory}: the bundle has no {ONNX_NAME} for this device; export it again")
    return _open_file(directory / ONNX_NAME, device, trust, throughput)


def _open_file(path: Path, device: str, trust: bool, throughput: bool) -> Session:
    if path.suffix not in (".onnx", ".plan") and status(path):
        raise InputError(f"{path}: not an engine; name a bundle, an engine.plan or a model.onnx")
    file = read_engine_file(path)
    if path.suffix == ".plan":
        if device == "cpu":
            raise UsageError(f"{path}: a TensorRT plan runs on a GPU only; name the bundle or its {ONNX_NAME}")
        from fsr_deploy.runtime.tensorrt.session import TensorRTSession

        return TensorRTSession(file, device, trust=trust)
    from fsr_deploy.runtime.backends.onnxruntime import OnnxSession

    return OnnxSession(file, device, throughput=throughput)
