"""The engines' own profilers behind one interface: kernel names and times, run by run."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fsr_deploy.bundle.engine_file import EngineFile
from fsr_deploy.runtime.backends.onnxruntime import OnnxSession
from fsr_deploy.runtime.session import Batch
from fsr_deploy.runtime.tensorrt.session import TensorRTSession


@dataclass(frozen=True)
class KernelRun:
    """One run of an engine: (name, seconds) of each kernel, in order, and the seconds of the run as a whole."""

    kernels: Sequence[tuple[str, float]]
    seconds: float


_SUFFIX = "_kernel_time"


class OnnxRecorder:
    """ONNX Runtime on the CPU, in a separate session with the same options as the one that is timed."""

    def __init__(self, file: EngineFile, batch_size: int) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._session = OnnxSession(file, "cpu", Path(self._folder.name) / "profile")
        self._batch = _faces(batch_size, self._session.info.lr_shape)

    def run(self) -> None:
        """Run once."""
        self._session.upscale(self._batch)

    def finish(self) -> list[KernelRun]:
        """Return all runs in order and free the session."""
        events = json.loads(self._session.finish_profile().read_bytes())
        self._session.close()
        self._folder.cleanup()
        return read_runs(events)


class TensorRTRecorder:
    """A plan with TensorRT's profiler; the caller keeps the session."""

    def __init__(self, session: TensorRTSession, batch_size: int) -> None:
        self._session = session
        self._batch = _faces(batch_size, session.info.lr_shape)
        self._runs: list[KernelRun] = []

    def run(self) -> None:
        """Run once."""
        layers = self._session.layer_times(self._batch)
        self._runs.append(KernelRun(layers, sum(seconds for _, seconds in layers)))

    def finish(self) -> list[KernelRun]:
        """Return all runs in order."""
        return self._runs


def read_runs(events: list[dict[str, Any]]) -> list[KernelRun]:
    """Return the runs in ONNX Runtime's trace events, whose times are in microseconds."""
    whole = [event for event in events if event["name"] == "model_run"]
    kernels = [event for event in events if event["cat"] == "Node" and event["name"].endswith(_SUFFIX)]
    kernels.sort(key=lambda event: event["ts"])
    starts = np.array([event["ts"] for event in kernels])
    runs = []
    for run in sorted(whole, key=lambda event: event["ts"]):
        first, last = np.searchsorted(starts, (run["ts"], run["ts"] + run["dur"]))
        named = [(event["name"].removesuffix(_SUFFIX), 1e-6 * event["dur"]) for event in kernels[first:last]]
        runs.append(KernelRun(named, 1e-6 * run["dur"]))
    return runs


def _faces(batch_size: int, shape: tuple[int, int]) -> Batch:
    return np.random.default_rng(0).integers(0, 256, (batch_size, *shape, 3), np.uint8)
