"""Engines measured side by side, and beside other ways to run the same network."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from fsr_deploy._util import log
from fsr_deploy._util.imports import import_fault
from fsr_deploy._util.log import ProgressCallback, reporting, say, to_callback, warn
from fsr_deploy.bundle.info import ONNX_NAME, Bundle, place, read_bundle
from fsr_deploy.errors import MissingError, UsageError, refuse_unknown
from fsr_deploy.profiling.collect import Request, collect
from fsr_deploy.profiling.record import Profile
from fsr_deploy.profiling.subjects import Subject, open_subjects
from fsr_deploy.runtime.machine import computes_bf16
from fsr_deploy.runtime.open import BACKENDS, open_session, parse_device
from fsr_deploy.runtime.session import OPENVINO, Session

TORCH = ("eager", "channels-last", "compile", "compile-bf16", "autocast-bf16")
AGAINST = (*TORCH, *BACKENDS)
BATCHES = (1, 2, 4, 8, 16, 32)


def profile(
    engines: Sequence[str | os.PathLike[str] | Bundle],
    *,
    against: Sequence[str] = (),
    batches: Sequence[int] = BATCHES,
    seconds: float = 5.0,
    layers: bool = False,
    budget_ms: float | None = None,
    device: str = "auto",
    backend: str | None = None,
    trust: bool = False,
    progress: ProgressCallback | None = None,
) -> Profile:
    """Measure the latency of engines on this machine, side by side in one run.

    ``engines`` are bundles, ONNX files or plans; ``against`` names baselines for the first of them, from AGAINST.
    ``seconds`` are measured per engine and batch size; ``layers`` adds the time by module of the network, ``budget_ms``
    the best batch whose p99 is within so many milliseconds. ``device`` and ``backend`` are ``load``'s, for all
    ``engines``. ``trust`` loads plans without a bundle, which can run code.
    ``progress`` is called with what is counted, how many are done and how many there are.

    Raises UsageError for names and sizes that do not exist, and InputError and MissingError as engines are opened.
    """
    parse_device(device)
    for name in against:
        refuse_unknown("--against", name, AGAINST)
    if not engines:
        raise UsageError("name one or more ENGINES to measure")
    if not batches or min(batches) < 1:
        text = ",".join(map(str, batches))
        raise UsageError(f"--batches {text}: not numbers from 1 with commas, for example 1,8,32")
    paths = [place(engine) for engine in engines]
    with reporting(to_callback(progress) if progress else None):
        say("starting each engine afresh, three times: cold start and memory")
        subjects = open_subjects(paths, device, backend=backend, trust=trust)
        subjects += [_baseline(name, paths[0], subjects[0]) for name in dict.fromkeys(against)]
        for subject in subjects:
            info = subject.session.info
            say(f"{subject.name}: {info.engine}, device {info.device}, precision {info.precision}")
        return collect(
            subjects, Request(batches, seconds, layers, budget_ms, say=say, warn=warn, progress=log.progress)
        )


def _baseline(name: str, engine: Path, first: Subject) -> Subject:
    """Open a baseline of the first engine; raises MissingError where a library for it is not installed."""
    device = first.session.info.device
    if name in TORCH:
        return Subject(name, _open_torch(name, engine, device if device.startswith("cuda") else "cpu"))
    # OpenVINO has no device for a GPU of CUDA, and ONNX Runtime none for those of OpenVINO.
    same = device.startswith("cuda" if name == "onnxruntime" else OPENVINO)
    return Subject(name, open_session(_graph(name, engine), device if same else "cpu", backend=name))


def _open_torch(name: str, engine: Path, device: str) -> Session:
    bundle = read_bundle(engine if engine.is_dir() else engine.parent).info
    try:
        from fsr_deploy.profiling.baselines import open_baseline
    except Exception as error:
        if (missing := import_fault(error)) is None:
            raise
        raise MissingError(f"--against {name} runs the network in PyTorch: {missing}") from error
    if name.endswith("bf16") and device == "cpu" and not computes_bf16():
        warn(f"{name}: this CPU has no instructions for BF16; PyTorch computes it in FP32 and rounds, which is slow")
    if name.startswith("compile"):
        say(f"{name}: torch.compile makes its kernels, for each batch size anew; that can take minutes")
    return open_baseline(bundle, name, device)


def _graph(name: str, engine: Path) -> Path:
    graph = engine if engine.suffix == ".onnx" else (engine if engine.is_dir() else engine.parent) / ONNX_NAME
    if not graph.is_file():
        raise UsageError(f"--against {name} runs the graph of {engine}, and there is no {graph}")
    return graph
