"""The bundle: the directory that an export writes and a deployment reads.

``model.onnx``, ``engine.plan`` (where one was built), ``report.html`` and ``parity.png`` stand beside ``bundle.json``,
which holds everything known about them: plain data, checked against the files' SHA-256 before any of them is loaded.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from fsr_deploy.errors import InputError

SCHEMA_VERSION = 1
INFO_NAME = "bundle.json"
ONNX_NAME = "model.onnx"
PLAN_NAME = "engine.plan"


@dataclass(frozen=True)
class TensorInfo:
    """One input or output of the engine: ``shape`` has names for dynamic dimensions."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True)
class PlanInfo:
    """What a TensorRT plan is bound to, known without asking TensorRT."""

    tensorrt: str
    compute_capability: str
    gpu: str
    platform: str
    cuda: str = ""
    driver: str = ""
    hardware_compatibility: str = "none"
    version_compatible: bool = False
    profiles: tuple[tuple[int, int, int], ...] = ()


@dataclass(frozen=True)
class BundleInfo:
    """The contents of ``bundle.json``.

    ``batches`` is (min, opt, max). ``io`` is "uint8" (RGB faces, (N, h, w, 3)) or "float" (the bare network,
    (N, 3, H, W) in [-1, 1]). ``files`` maps a file's name to its SHA-256. ``precision_map`` maps a module's name to
    {"precision", "reason"} where it differs from ``precision``. ``parity`` and ``latency`` are the measured tables.
    """

    model: str
    precision: str
    scale: int
    lr_size: int
    batches: tuple[int, int, int]
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    trained: bool
    io: str = "uint8"
    color: str = "RGB"
    options: dict[str, Any] = field(default_factory=dict)
    checkpoint_sha256: str | None = None
    files: dict[str, str] = field(default_factory=dict)
    precision_map: dict[str, dict[str, str]] = field(default_factory=dict)
    parity: list[dict[str, Any]] = field(default_factory=list)
    latency: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    plan: PlanInfo | None = None
    notes: tuple[str, ...] = ()
    schema: int = SCHEMA_VERSION


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk."""

    path: Path
    info: BundleInfo

    def file(self, name: str) -> Path:
        """Return the path of one of the bundle's files, its hash checked; raises InputError if it is not as written."""
        path = self.path / name
        if name not in self.info.files:
            raise InputError(f"{self.path}: the bundle has no {name}")
        if not path.is_file():
            raise InputError(f"{path}: missing from its bundle; export the bundle again")
        if sha256(path) != self.info.files[name]:
            raise InputError(f"{path}: its SHA-256 is not the one in {INFO_NAME}; the file was changed or cut off")
        return path


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file as hex digits."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def read_bundle(directory: Path) -> Bundle:
    """Read and validate ``bundle.json`` of a directory; raises InputError that names what is wrong."""
    path = directory / INFO_NAME
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{directory}: no {INFO_NAME} here; this is not a bundle that fsr-export wrote") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    return Bundle(directory, _parse(data, path))


def _parse(data: Any, path: Path) -> BundleInfo:
    if not isinstance(data, dict) or not isinstance(data.get("schema"), int):
        raise InputError(f"{path}: not a bundle description")
    if data["schema"] > SCHEMA_VERSION:
        raise InputError(
            f"{path}: written by a newer fsr-deploy (schema {data['schema']}, this one reads up to {SCHEMA_VERSION}); "
            "upgrade fsr-deploy"
        )
    known = {name: data[name] for name in BundleInfo.__dataclass_fields__ if name in data}
    try:
        for key in ("inputs", "outputs"):
            known[key] = tuple(TensorInfo(t["name"], t["dtype"], tuple(t["shape"])) for t in known[key])
        if known.get("plan") is not None:
            plan = known["plan"]
            known["plan"] = PlanInfo(**{**plan, "profiles": tuple(tuple(p) for p in plan["profiles"])})
        known["batches"] = tuple(known["batches"])
        known["notes"] = tuple(known.get("notes", ()))
        return BundleInfo(**known)
    except (KeyError, TypeError) as error:
        raise InputError(f"{path}: incomplete or damaged: {error}; export the bundle again") from error


@contextmanager
def staged_directory(destination: Path) -> Iterator[Path]:
    """Yield an empty directory that takes the destination's place when the block ends without an error.

    The directory stands beside the destination; its files are flushed to disk before it is renamed, so that a reader
    never sees half of it. A destination that holds anything but a bundle is refused with InputError.
    """
    if destination.exists() and not (destination / INFO_NAME).is_file() and any(destination.iterdir()):
        raise InputError(f"{destination}: not empty and not a bundle; name another directory with -o")
    destination.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{destination.name}-", dir=destination.parent))
    try:
        yield staging
        staging.chmod(0o755)
        for path in (*staging.rglob("*"), staging):
            _fsync(path)
        if destination.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{destination.name}-old-", dir=destination.parent))
            destination.rename(old / "bundle")
            staging.rename(destination)
            shutil.rmtree(old)
        else:
            staging.rename(destination)
        _fsync(destination.parent)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def write_info(directory: Path, info: BundleInfo) -> BundleInfo:
    """Write ``bundle.json`` into a directory with the hashes of all other files there; returns what was written."""
    hashes = {p.name: sha256(p) for p in sorted(directory.iterdir()) if p.is_file() and p.name != INFO_NAME}
    info = replace(info, files=hashes)
    (directory / INFO_NAME).write_text(json.dumps(asdict(info), indent=2) + "\n", encoding="utf-8")
    return info


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
