"""The graph that was written, loaded to be proven: by the runtime that will run it, and as a GPU will compute it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import ModelProto

from fsr_deploy.bundle.engine_file import EngineFile
from fsr_deploy.bundle.info import MIXED, MIXES, BundleInfo
from fsr_deploy.exporting.graph.sessions import open_graph
from fsr_deploy.exporting.options import TYPED_OPSET
from fsr_deploy.exporting.precision.blocks import fp32_modules
from fsr_deploy.exporting.precision.cast import PrecisionMap
from fsr_deploy.exporting.precision.emulate import TYPES, as_typed_by_8_6, rounded
from fsr_deploy.exporting.precision.partial_sums import PRODUCTS, with_rounded_sums
from fsr_deploy.exporting.rewrite.rewrites import Target
from fsr_deploy.runtime.backends.onnxruntime import OnnxSession, rounds_fp16
from fsr_deploy.runtime.machine import computes_bf16
from fsr_deploy.runtime.open import open_session
from fsr_deploy.runtime.session import Session
from fsr_deploy.runtime.tensorrt.session import TensorRTSession


@dataclass(frozen=True)
class Runner:
    """A graph ready to run: ``run`` takes a batch of the graph's input and returns its output.

    ``emulated`` tells that it rounds as a GPU would, at no speed that means anything.
    """

    name: str
    device: str
    run: Callable[[NDArray[Any]], NDArray[Any]]
    emulated: bool = False


def open_engines(
    path: Path, precision: str, io: str, kept: PrecisionMap | None = None, target: Target = "tensorrt"
) -> list[Runner]:
    """Load a written graph in each way that it has to be proven; ``kept`` are the modules that differ in precision.

    As the runtime runs it here, which ONNX Runtime does not on a CPU with BF16; and, on a CPU, a graph of half
    precision also with every result rounded, because the CPU leaves roundings out that a GPU makes. A graph for
    OpenVINO runs in OpenVINO, or is rounded where this CPU has no BF16.
    """
    if target == "openvino":
        if precision == "bf16" and not computes_bf16():
            return [_with_roundings(path, precision, io, kept or {})]
        session = open_session(path, "cpu", backend="openvino")
        return [Runner(session.info.engine, session.info.device, session.upscale)]
    runs_here = precision != "bf16" and (precision != MIXED or rounds_fp16(onnxruntime.__version__))
    engines = [_as_it_is(path, io)] if runs_here else []
    if precision in (*TYPES, *MIXES) and not any(engine.device.startswith("cuda") for engine in engines):
        engines.append(_with_roundings(path, precision, io, kept or {}))
    return engines


def open_plan(path: Path, info: BundleInfo, device: int) -> Runner:
    """Load a plan that was built on this machine; ``info`` is what its bundle will say."""
    content = path.read_bytes()
    file = EngineFile(Path(path.name), content, hashlib.sha256(content).hexdigest(), info)
    session = TensorRTSession(file, f"cuda:{device}", trust=True)
    return Runner(session.info.engine, session.info.device, lambda batch: session.submit(batch).result())


def _as_it_is(path: Path, io: str) -> Runner:
    if io == "float":  # the runtime's session takes faces only
        return _open_float(path.read_bytes())
    session = open_session(path)
    return Runner(session.info.engine, session.info.device, session.upscale)


def open_worst_case(path: Path, precision: str, io: str, kept: PrecisionMap) -> Runner:
    """Load a written graph with FP16 in it as the least exact kernels compute it, those that add in FP16 too.

    TensorRT may choose such kernels, or none. Takes seconds to load: its sums are operations of their own.
    """
    session = open_graph(with_rounded_sums(_rounded(path, precision, io, kept)), optimised=False)
    name = session.get_inputs()[0].name
    title = f"FP16 sums, rounded every {PRODUCTS} products"
    return Runner(title, "cpu", lambda batch: session.run(None, {name: batch})[0], emulated=True)


def _rounded(path: Path, precision: str, io: str, kept: PrecisionMap) -> ModelProto:
    """Return a written graph in FP32 with every result rounded that a GPU stores in half precision."""
    model = onnx.load(path)
    if precision == MIXED and model.opset_import[0].version < TYPED_OPSET:
        return as_typed_by_8_6(model, fp32_modules(kept, io))
    return rounded(model, _half(precision))


def _half(precision: str) -> str:
    """Return the half precision in a precision."""
    return "fp16" if precision in MIXES else precision


def _with_roundings(path: Path, precision: str, io: str, kept: PrecisionMap) -> Runner:
    model = _rounded(path, precision, io, kept)
    del model.metadata_props[:]  # they name the precision of a graph that this is not
    content = model.SerializeToString()
    if io == "float":
        engine = _open_float(content)
    else:
        session: Session = OnnxSession(EngineFile(path, content, hashlib.sha256(content).hexdigest(), None), "cpu")
        engine = Runner(session.info.engine, "cpu", session.upscale)
    return Runner(f"{engine.name}, rounded to {_half(precision)}", "cpu", engine.run, emulated=True)


def _open_float(content: bytes) -> Runner:
    session = open_graph(onnx.load_from_string(content))
    name = session.get_inputs()[0].name
    title = f"ONNX Runtime {onnxruntime.__version__} (CPUExecutionProvider)"
    return Runner(title, "cpu", lambda batch: session.run(None, {name: batch})[0])
