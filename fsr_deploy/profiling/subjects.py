"""What is profiled: the engines that the user names, and how to profile each."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fsr_deploy.bundle.engine_file import EngineFile, read_engine_file
from fsr_deploy.bundle.info import LAYERS_NAME, ONNX_NAME, PLAN_NAME, Bundle, BundleInfo
from fsr_deploy.bundle.layers import ModuleTable, read_table
from fsr_deploy.profiling.cold import ColdStart, cold_start
from fsr_deploy.profiling.layers.attribution import LayerWatch, Recorder
from fsr_deploy.profiling.layers.gpu_stages import StageWatch
from fsr_deploy.profiling.record import ParityFigures
from fsr_deploy.profiling.timing import Clock
from fsr_deploy.runtime.backends.onnxruntime import OnnxSession
from fsr_deploy.runtime.kernel_times import OnnxRecorder, TensorRTRecorder
from fsr_deploy.runtime.open import open_session
from fsr_deploy.runtime.session import Session, engine_kind
from fsr_deploy.runtime.tensorrt.session import TensorRTSession


@dataclass(frozen=True)
class Subject:
    """A session and its name; ``file`` is the engine's file, None for a baseline."""

    name: str
    session: Session
    file: EngineFile | None = None
    cold_start: ColdStart | None = None

    def focus(self, batches: Sequence[int]) -> int:
        """Return the batch size to profile by layer: the best one on a GPU, the smallest on a CPU, which is as good
        there."""
        best = self.session.info.best_batch
        return best if self.session.info.device != "cpu" and best in batches else min(batches)

    def watch_layers(self, batch: int, seconds: float, clock: Clock) -> LayerWatch | None:
        """Return what times the modules in visits of ``seconds``, None without a reliable profiler. On a GPU, ONNX
        Runtime's profiler times the launch of a kernel and not the kernel.
        """
        recorder: Recorder
        if self.file is not None and isinstance(self.session, OnnxSession) and self.session.info.device == "cpu":
            recorder = OnnxRecorder(self.file, batch)
        elif self.file is not None and isinstance(self.session, TensorRTSession):
            recorder = TensorRTRecorder(self.session, batch)
        else:
            return None
        return LayerWatch(recorder, self._table(), batch, seconds, clock)

    def watch_stages(self, batch: int) -> StageWatch | None:
        """Return what times transfers and computation separately, None where the engine cannot."""
        if self.file is not None and isinstance(self.session, TensorRTSession):
            return StageWatch(self.session, batch)
        return None

    def quality(self) -> ParityFigures | None:
        """Return the bundle's parity figures for the engine that runs, None where the bundle has none of it."""
        bundle = self.file.bundle if self.file else None
        return worst_parity(bundle, self.session.info.engine) if bundle else None

    def notes(self) -> list[str]:
        """Return notes on the engine for a reader of the figures."""
        notes = list(self.session.info.notes)
        if isinstance(self.session, TensorRTSession) and self.session.graph_failure:
            notes.append(f"no CUDA graph: {self.session.graph_failure}")
        return notes

    def _table(self) -> ModuleTable:
        """Return the bundle's table of modules; without it, modules are found by the paths in the kernels' names."""
        if self.file is None or self.file.bundle is None or LAYERS_NAME not in self.file.bundle.files:
            return ModuleTable({})
        return read_table(Bundle(self.file.path.parent, self.file.bundle))


def open_subjects(
    paths: Sequence[Path], device: str, *, backend: str | None = None, trust: bool = False
) -> list[Subject]:
    """Measure each engine's cold start, then open it; a TensorRT plan a second time, without CUDA graphs.

    Raises what ``open_session`` raises.
    """
    subjects: list[Subject] = []
    for path in paths:
        name = _name(path, [subject.name for subject in subjects])
        session = open_session(path, device, backend=backend, trust=trust)
        file = read_engine_file(_file(path, session))
        cold = cold_start(file.path, session.info.device, backend=backend, trust=trust)
        subjects.append(Subject(name, session, file, cold))
        if isinstance(session, TensorRTSession):
            plain = TensorRTSession(file, session.info.device, trust=trust, in_flight=1, graphs=False)
            subjects.append(Subject(f"{name}, no CUDA graph", plain))
    return subjects


def worst_parity(bundle: BundleInfo, engine: str) -> ParityFigures | None:
    """Return the worst of a bundle's parity figures over all batch sizes, of what runs: an engine of this name."""
    known = [row for row in bundle.parity if row.keys() >= {"engine", "psnr_db", "max_error"}]
    rows = [row for row in known if engine_kind(row["engine"]) == engine_kind(engine)]
    if not rows:
        return None
    psnrs = [row["psnr_db"] for row in rows if row["psnr_db"] is not None]
    return ParityFigures(min(psnrs, default=None), max(row["max_error"] for row in rows))


def _name(path: Path, taken: Sequence[str]) -> str:
    """Return the bundle's or file's name; a second one of the same name gets a number."""
    resolved = Path(os.path.realpath(path))
    name = resolved.parent.name if resolved.name in (ONNX_NAME, PLAN_NAME) else resolved.name
    number = 1 + sum(other == name or other.startswith(f"{name} #") for other in taken)
    return name if number == 1 else f"{name} #{number}"


def _file(path: Path, session: Session) -> Path:
    if not path.is_dir():
        return path
    return path / (PLAN_NAME if isinstance(session, TensorRTSession) else ONNX_NAME)
