"""Models that OpenVINO compiled, kept in the cache folder: compiling takes seconds, loading what was compiled less."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fsr_deploy import __version__
from fsr_deploy._util.cache_folder import cache_folder, find, keep

FOLDER = "openvino"
MOST_FILES = 24  # each is as large as its graph; the oldest go first
DIGEST = hashlib.sha256().digest_size


def fingerprint(*facts: object) -> str:
    """Return the name of a file for what depends on these facts and on our version."""
    return hashlib.sha256("\n".join(map(str, (__version__, *facts))).encode()).hexdigest()


def place_of(name: str) -> Path | None:
    """Return the path of a file of this cache, None where nothing can be kept."""
    folder = cache_folder()
    return folder / FOLDER / name if folder else None


def compile_or_load(core: Any, model: Any, device: str, settings: Mapping[str, Any], made_of: str) -> Any:
    """Return a model compiled for a device: the one kept for ``made_of``, or a new one, which is kept.

    ``made_of`` is the fingerprint of all that the result depends on. A kept one that is damaged is compiled anew.
    Raises RuntimeError as OpenVINO does.
    """
    path = place_of(f"{made_of}.blob")
    if (kept := find(path))[:DIGEST] == hashlib.sha256(kept[DIGEST:]).digest():
        try:
            return core.import_model(io.BytesIO(kept[DIGEST:]), device, settings)
        except RuntimeError:  # written by a driver that is another by now
            pass
    compiled = core.compile_model(model, device, settings)
    if path and "EXPORT_IMPORT" in core.get_property(device, "OPTIMIZATION_CAPABILITIES"):
        _keep(path, compiled)
    return compiled


def _keep(path: Path, compiled: Any) -> None:
    stream = io.BytesIO()
    compiled.export_model(stream)
    content = stream.getvalue()
    keep(path, hashlib.sha256(content).digest() + content)
    try:
        files = sorted(path.parent.glob("*.blob"), key=lambda file: file.stat().st_mtime)
        for file in files[:-MOST_FILES]:
            file.unlink(missing_ok=True)
    except OSError:  # another process removes them too
        return
