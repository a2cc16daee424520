"""The timing cache: what TensorRT measured in earlier builds, so that the next one takes seconds instead of minutes."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from fsr_deploy.console import warn
from fsr_deploy.runtime.driver import Gpu

if TYPE_CHECKING:
    import tensorrt


def default_path(tensorrt_version: str, gpu: Gpu) -> Path:
    """Return the cache file of one TensorRT on one GPU model, in the user's cache directory."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    model = re.sub(r"[^a-z0-9]+", "-", gpu.name.lower()).strip("-")
    return home / "fsr-deploy" / f"timing-{tensorrt_version}-{gpu.sm}-{model}.cache"


def attach(config: tensorrt.IBuilderConfig, path: Path) -> None:
    """Give a build the timings of earlier ones; starts an empty cache where there are none that fit."""
    try:
        content = path.read_bytes()
    except OSError:
        content = b""
    cache = config.create_timing_cache(content)
    if cache is None or not config.set_timing_cache(cache, False):
        if content:
            warn(f"{path}: a timing cache of another GPU or TensorRT; starting an empty one")
        config.set_timing_cache(config.create_timing_cache(b""), False)


def keep(config: tensorrt.IBuilderConfig, path: Path) -> None:
    """Write the timings of a build for the next one; a directory that cannot be written costs a warning only."""
    cache = config.get_timing_cache()
    if cache is None:
        return
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as stream:
            stream.write(cache.serialize())
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        warn(f"{path}: the timing cache cannot be kept: {error.strerror}")
