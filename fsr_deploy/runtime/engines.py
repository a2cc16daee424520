"""From what a user names to a session that runs."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

from fsr_deploy.bundle import ONNX_NAME, PLAN_NAME, read_bundle
from fsr_deploy.errors import InputError, UsageError
from fsr_deploy.runtime.enginefile import EngineFile, read_engine_file
from fsr_deploy.runtime.session import Session


def open_session(path: str | Path, device: str = "auto", *, trust: bool = False) -> Session:
    """Load an engine: a bundle, its ``engine.plan`` or ``model.onnx``, or a ``.onnx`` file from elsewhere.

    ``device`` is "cpu", "cuda", "cuda:1", or "auto" for the fastest there is; of a bundle, the plan runs where there
    is TensorRT, otherwise the graph. ``trust`` allows a plan without a bundle: loading a plan can run code.
    Raises UsageError for another device, InputError for files that are not what they should be and MissingError
    for a device or library that is not on this machine.
    """
    device = parse_device(device)
    path = Path(path)
    file = read_engine_file(_choose_file(path, device) if path.is_dir() else path)
    if file.path.suffix == ".onnx":
        from fsr_deploy.runtime.onnx import OnnxSession

        return OnnxSession(file, device)
    if file.path.suffix == ".plan":
        return _open_plan(file, device, trust)
    raise InputError(f"{path}: not an engine; name a bundle, an engine.plan or a model.onnx")


def parse_device(device: str) -> str:
    """Return "auto", "cpu" or "cuda:N"; raises UsageError for anything else."""
    if device == "cuda":
        return "cuda:0"
    if device in ("auto", "cpu") or re.fullmatch(r"cuda:\d+", device):
        return device
    raise UsageError(f"no device is called {device!r}; the devices are: auto, cpu, cuda, cuda:0, cuda:1 ...")


def _choose_file(directory: Path, device: str) -> Path:
    """Return the bundle's file that serves the device best."""
    files = read_bundle(directory).info.files
    plan_wanted = device != "cpu" and importlib.util.find_spec("tensorrt") is not None
    if PLAN_NAME in files and (plan_wanted or ONNX_NAME not in files):
        return directory / PLAN_NAME
    if ONNX_NAME in files:
        return directory / ONNX_NAME
    raise InputError(f"{directory}: the bundle has no engine; export it again")


def _open_plan(file: EngineFile, device: str, trust: bool) -> Session:
    if device == "cpu":
        raise UsageError(f"{file.path}: a TensorRT plan runs on a GPU only; name the bundle or its {ONNX_NAME}")
    from fsr_deploy.runtime.tensorrt import TensorRTSession

    return TensorRTSession(file, device, trust=trust)
