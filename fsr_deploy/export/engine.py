"""The graph that was written, loaded to be proven: by the runtime that will run it, where that can."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
from numpy.typing import NDArray

from fsr_deploy.export.bfloat16 import emulated
from fsr_deploy.runtime.enginefile import EngineFile
from fsr_deploy.runtime.engines import open_session
from fsr_deploy.runtime.onnx import OnnxSession
from fsr_deploy.runtime.session import Session


@dataclass(frozen=True)
class Engine:
    """A graph ready to run: ``run`` takes a batch of the graph's input and returns its output.

    ``emulated`` tells that its values are those of the written graph, but not its speed.
    """

    name: str
    device: str
    run: Callable[[NDArray[Any]], NDArray[Any]]
    emulated: bool = False


def open_engine(path: Path, precision: str, io: str) -> Engine:
    """Load a written graph.

    A graph of uint8 faces runs in the runtime's session; a BF16 one, on a CPU, with its roundings emulated. A graph
    with float input and output, which the runtime does not take, runs in ONNX Runtime directly, on the CPU.
    """
    content = _emulated(path) if precision == "bf16" else None
    note = ", BF16 emulated" if content else ""
    if io == "float":
        return _open_float(content or path.read_bytes(), note)
    if content:
        session: Session = OnnxSession(EngineFile(path, content, hashlib.sha256(content).hexdigest(), None), "cpu")
    else:
        session = open_session(path)
    return Engine(session.info.engine + note, session.info.device, session.upscale, bool(note))


def _emulated(path: Path) -> bytes:
    return emulated(onnx.load(path)).SerializeToString()


def _open_float(content: bytes, note: str) -> Engine:
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    title = f"ONNX Runtime {onnxruntime.__version__} (CPUExecutionProvider){note}"
    return Engine(title, "cpu", lambda batch: session.run(None, {name: batch})[0], bool(note))
