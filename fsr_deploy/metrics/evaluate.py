"""One table for everything that can upscale a face: eager networks, ONNX graphs, TensorRT plans, and bicubic."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fsr_deploy._util import log
from fsr_deploy._util.files import write_file
from fsr_deploy._util.json_records import json_text
from fsr_deploy._util.log import ProgressCallback, reporting, say, to_callback
from fsr_deploy._util.sizes import Size, as_shape, as_size, by, checked_size, written
from fsr_deploy.bundle.info import MIN_LR_SIZE, ONNX_NAME, PLAN_NAME, Bundle, place, read_bundle
from fsr_deploy.datasets.faces import FaceSource, open_faces
from fsr_deploy.errors import InputError, MissingError, UsageError
from fsr_deploy.images.resize import Face, bicubic, shrink
from fsr_deploy.metrics.measures import find_measures
from fsr_deploy.models import own_code, registry
from fsr_deploy.models.eager import Eager
from fsr_deploy.models.source import load_source
from fsr_deploy.models.weight_files import may_be_checkpoint
from fsr_deploy.runtime.open import check_backend, open_session, parse_device
from fsr_deploy.runtime.session import OPENVINO, Session

BATCH = 8
CHUNK = 64  # faces in memory at a time


@dataclass(frozen=True)
class System:
    """Something that upscales LR faces of ``lr_size`` to SR faces of ``size``, both uint8 RGB."""

    name: str
    lr_size: Size
    size: Size
    upscale: Callable[[Sequence[Face]], list[Face]]


@dataclass(frozen=True)
class ScoreTable:
    """Scores: one row for each system, what could not be measured, and ``notes`` on what was."""

    data: str
    faces: int
    lr_size: Size
    size: Size
    measures: tuple[str, ...]
    rows: dict[str, list[float]]
    left_out: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Return the table as plain data."""
        rows = [{"system": name, **dict(zip(self.measures, row, strict=True))} for name, row in self.rows.items()]
        return {
            "data": self.data,
            "faces": self.faces,
            "lr_size": self.lr_size,
            "size": self.size,
            "rows": rows,
            "left_out": self.left_out,
            "notes": self.notes,
        }

    def as_markdown(self) -> str:
        """Return the table as Markdown."""
        lines = [
            f"{self.data}: {self.faces} faces, {by(self.lr_size)} to {by(self.size)}",
            "",
            "| system | " + " | ".join(self.measures) + " |",
            "|---|" + "---:|" * len(self.measures),
        ]
        for name, row in self.rows.items():
            digits = (2 if "dB" in measure else 4 for measure in self.measures)
            values = (f"{value:.{places}f}" for value, places in zip(row, digits, strict=True))
            lines.append(f"| {name} | {' | '.join(values)} |")
        lines += ["", *(f"- left out: {name}: {wanted}" for name, wanted in self.left_out.items())]
        lines += [f"- note: {note}" for note in self.notes]
        return "\n".join(lines).strip() + "\n"

    def write(self, folder: Path) -> None:
        """Write ``scores.md`` and ``scores.json``."""
        for name, text in (("scores.md", self.as_markdown()), ("scores.json", json_text(self.as_dict(), 2))):
            write_file(folder / name, text.encode())


def evaluate(
    systems: Sequence[str | os.PathLike[str] | Bundle],
    data: str | os.PathLike[str],
    *,
    checkpoint: str | os.PathLike[str] | None = None,
    key: str | None = None,
    layout: str = "auto",
    limit: int | None = None,
    lr_size: Size | None = None,
    weights: str | os.PathLike[str] | None = None,
    device: str = "auto",
    backend: str | None = None,
    trust: bool = False,
    progress: ProgressCallback | None = None,
) -> ScoreTable:
    """Score networks and engines on held-out faces, in one table with bicubic.

    ``systems`` are bundles, ONNX files, plans, checkpoints, or a registered name whose weights are in ``checkpoint``.
    ``data`` is a folder of faces, or "faces:COUNT" for drawn ones; ``layout`` says how a data set lies on disk, and
    ``limit`` takes its first faces. ``weights`` is a folder with the weights of LPIPS, FID and so on. ``device`` and
    ``backend`` are ``load``'s. ``progress`` is called with what is counted, how many are done and how many there are.
    Raises what ``open_systems`` raises, and InputError for faces that cannot be read.
    """
    path = Path(checkpoint) if checkpoint else None
    lr_size = None if lr_size is None else checked_size("--lr-size", lr_size, MIN_LR_SIZE)
    with reporting(to_callback(progress) if progress else None):
        opened, not_run = open_systems(
            [str(place(name)) for name in systems], path, lr_size, device, trust, key, backend
        )
        faces = open_faces(str(data), "test", opened[0].size, layout, limit)
        say(f"measuring {len(opened)} systems on {faces.name}")
        return score_all(opened, not_run, faces, Path(weights) if weights else None, device)


def open_systems(
    names: Sequence[str],
    checkpoint: Path | None,
    lr_size: Size | None,
    device: str,
    trust: bool = False,
    key: str | None = None,
    backend: str | None = None,
) -> tuple[list[System], dict[str, str]]:
    """Open what a user names, and return with it what this machine cannot run and why.

    ``lr_size`` None stands for the engines' size, or else the one that a checkpoint was trained at. ``trust`` allows
    plans without a bundle. ``key`` is the entry of the checkpoints to take, None the best that fits. ``backend`` runs
    the graphs. Raises UsageError for a MODEL without --checkpoint, for a back end that does not run on ``device``, and
    for systems that take LR faces of different sizes or of another than ``lr_size``, MissingError where nothing can be
    run.
    """
    check_backend(backend, parse_device(device))
    names = [own_code.resolve(name) for name in names]
    models = [name for name in names if checkpoint is not None and name in registry.names()]
    if checkpoint is not None and not models:
        raise UsageError(f"--checkpoint {checkpoint} is the weights of a MODEL; name the model too")
    files = {name: [] if name in models else _engine_files(Path(name)) for name in names}  # a folder may have its name
    engines, left_out = _open_engines([path for paths in files.values() for path in paths], device, backend, trust)
    side = engines[0].lr_size if engines else None
    eager = [
        _open_eager(name, checkpoint if name in models else None, lr_size, side, device, key)
        for name, paths in files.items()
        if not paths
    ]
    if key is not None and not eager:
        raise UsageError("--key names an entry of a checkpoint; name one to measure too")
    systems = [*eager, *engines]
    if not systems:
        raise MissingError("; ".join(left_out.values()))
    sizes = {(system.lr_size, system.size) for system in systems}
    if len(sizes) > 1 or systems[0].lr_size != (lr_size or systems[0].lr_size):
        sides = ", ".join(f"{system.name} {by(system.lr_size)} to {by(system.size)}" for system in systems)
        asked = f"--lr-size {written(lr_size)}: " if lr_size else ""
        raise UsageError(f"{asked}one table needs one size of LR faces and of SR faces: {sides}")
    return systems, left_out


def score_all(
    systems: Sequence[System], not_run: Mapping[str, str], faces: FaceSource, weights: Path | None, device: str
) -> ScoreTable:
    """Measure bicubic and every system on the same faces; ``not_run`` joins what is left out."""
    lr_size, size = systems[0].lr_size, systems[0].size
    measures, left_out = find_measures(weights, size, torch_device(device))
    for measure in [measure for measure in measures if measure.fewest > len(faces)]:
        left_out[measure.name] = f"at least {measure.fewest} faces"
        measures.remove(measure)
    reference = System("bicubic", lr_size, size, partial(bicubic, size=size))
    systems = [reference, *systems]
    tallies = {system.name: [measure.start() for measure in measures] for system in systems}
    with log.progress("measuring", len(faces)) as advance:
        for start in range(0, len(faces), CHUNK):
            hr = [faces.read(index) for index in range(start, min(start + CHUNK, len(faces)))]
            lr = shrink(hr, lr_size)
            for system in systems:
                sr = system.upscale(lr)
                for tally in tallies[system.name]:
                    tally.add(sr, hr)
            advance(len(hr))
    rows = {name: [tally.value() for tally in row] for name, row in tallies.items()}
    names = tuple(measure.name for measure in measures)
    wanted = {name: f"wants {what}" for name, what in left_out.items()}
    notes = [
        f"{measure.name} of {len(faces)} faces: below {measure.enough} it depends on how many they are; "
        "compare it with values of the same faces only"
        for measure in measures
        if measure.enough > len(faces)
    ]
    return ScoreTable(faces.name, len(faces), lr_size, size, names, rows, {**not_run, **wanted}, notes)


def torch_device(device: str) -> torch.device:
    """Return the device that networks and measures run on; raises MissingError where there is no such GPU."""
    if parse_device(device) == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device == "cpu" or device.startswith(OPENVINO):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise MissingError("no GPU that this PyTorch can use; measure with --device cpu")
    return torch.device(device)


def _engine_files(path: Path) -> list[Path]:
    """Return the engine files of a name: those of a bundle, or the graph or plan itself."""
    if path.is_dir():
        info = read_bundle(path).info
        return [path / name for name in (ONNX_NAME, PLAN_NAME) if name in info.files]
    return [path] if path.suffix in (".onnx", ".plan") else []


def _open_engines(
    paths: Sequence[Path], device: str, backend: str | None, trust: bool
) -> tuple[list[System], dict[str, str]]:
    systems, left_out = [], {}
    for path in paths:
        try:
            # A plan runs on a GPU only: it takes the GPU even if the networks run on the CPU.
            on_gpu = path.suffix == ".plan"
            place = "auto" if on_gpu and (device == "cpu" or device.startswith(OPENVINO)) else device
            session = open_session(path, place, backend=None if on_gpu else backend, trust=trust)
            systems.append(_engine_system(path, session))
        except MissingError as error:
            left_out[str(path)] = str(error)
    return systems, left_out


def _engine_system(path: Path, session: Session) -> System:
    info = session.info
    batch = min(BATCH, info.max_batch or BATCH)

    def run(lr: Sequence[Face]) -> list[Face]:
        starts = range(0, len(lr), batch)
        return [face for start in starts for face in session.upscale(np.stack(lr[start : start + batch]))]

    name = f"{path} ({info.engine} {info.precision} on {info.device})"
    return System(name, as_size(info.lr_shape), as_size(info.sr_shape), run)


def _open_eager(
    name: str, checkpoint: Path | None, asked: Size | None, engines: Size | None, device: str, key: str | None
) -> System:
    """Open a network for LR faces of the size ``asked`` for, or else of the ``engines``' where it takes any size."""
    registered = name in registry.names()
    if not registered and Path(name).is_file() and not may_be_checkpoint(Path(name)):
        raise InputError(f"{name}: neither an engine nor a checkpoint; expected a bundle, .onnx, .plan or .safetensors")
    source = load_source(name, checkpoint, asked or (engines if registered else None), key)
    if not source.trained:
        raise UsageError(f"{name}: name its weights with --checkpoint FILE; untrained ones measure nothing")
    made_for = registry.made_for(source.name, source.options) if source.registered else None
    size = made_for or asked or engines or source.lr_size
    height, width = as_shape(size)
    large = as_size((height * source.scale, width * source.scale))
    place = torch_device(device)
    eager = Eager(source.network, source.upsampling, place)
    return System(f"{name} (eager fp32 on {place})", size, large, eager.upscale)
