"""An engine's file, read once: the bytes that are hashed are the bytes that run."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from fsr_deploy._util.files import read_file, status
from fsr_deploy.bundle.info import INFO_NAME, BundleInfo, read_bundle
from fsr_deploy.bundle.onnx_wire import has_external_data
from fsr_deploy.errors import InputError


@dataclass(frozen=True)
class EngineFile:
    """The content of a ``.onnx`` or ``.plan`` file; ``bundle`` is what its bundle says, None for a foreign file."""

    path: Path
    content: bytes
    sha256: str
    bundle: BundleInfo | None


def read_engine_file(path: Path) -> EngineFile:
    """Read an engine's file, a plan or an ONNX graph. Every file that we did not just write is read here. In a bundle,
    its hash is checked against ``bundle.json``. Raises InputError for a file that cannot be read, is empty, or is not
    the one that was exported, and for a graph that is damaged or refers to other files.
    """
    if not status(path):
        raise InputError(f"{path}: no such file; name a bundle, an engine.plan or a model.onnx")
    content = read_file(path)
    if not content:
        raise InputError(f"{path}: the file is empty; export it again")
    digest = hashlib.sha256(content).hexdigest()
    file = EngineFile(path, content, digest, _bundle_of(path, digest))
    if path.suffix != ".plan":
        refuse_external_data(path, content)
    return file


def refuse_external_data(path: Path, graph: bytes) -> None:
    """Raise InputError for an ONNX graph that is damaged or keeps tensors in other files.

    Whatever parses it next, ONNX Runtime, OpenVINO, TensorRT or onnx, would open those files: any on this machine.
    """
    try:
        external = has_external_data(graph)
    except ValueError:
        raise InputError(f"{path}: not an ONNX model, or cut off; export it again") from None
    if external:
        raise InputError(
            f"{path}: keeps weights in other files (external data), which are not read;"
            " save the model as one file: onnx.save(onnx.load(path), path, save_as_external_data=False)"
        )


def _bundle_of(path: Path, digest: str) -> BundleInfo | None:
    if not (path.parent / INFO_NAME).is_file():
        return None
    info = read_bundle(path.parent).info
    if path.name not in info.files:
        return None
    if info.files[path.name] != digest:
        raise InputError(f"{path}: its SHA-256 is not the one in {INFO_NAME}; the file was changed or cut off")
    return info
