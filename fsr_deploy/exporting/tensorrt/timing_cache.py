"""The timing cache: what TensorRT measured in earlier builds, so that the next one takes seconds instead of minutes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from fsr_deploy._util import cache_folder
from fsr_deploy._util.log import warn
from fsr_deploy.runtime.cuda.driver import Gpu

if TYPE_CHECKING:
    import tensorrt


def default_path(tensorrt_version: str, gpu: Gpu) -> Path | None:
    """Return the file of one TensorRT on one GPU model in the cache's folder; None without one."""
    folder = cache_folder.cache_folder()
    if folder is None:
        return None
    model = re.sub(r"[^a-z0-9]+", "-", gpu.name.lower()).strip("-")
    return folder / f"timing-{tensorrt_version}-{gpu.sm}-{model}.cache"


def attach(config: tensorrt.IBuilderConfig, path: Path | None) -> None:
    """Give a build the timings of earlier ones; starts an empty cache where there are none that fit."""
    content = cache_folder.find(path)
    cache = config.create_timing_cache(content)
    if cache is None or not config.set_timing_cache(cache, False):
        if content:
            warn(f"{path}: a timing cache of another GPU or TensorRT; starting an empty one")
        config.set_timing_cache(config.create_timing_cache(b""), False)


def keep(config: tensorrt.IBuilderConfig, path: Path | None) -> None:
    """Write the timings of a build for the next one; a folder that cannot be written costs a warning only."""
    cache = config.get_timing_cache()
    if cache is not None and path is not None:
        cache_folder.keep(path, bytes(cache.serialize()))
