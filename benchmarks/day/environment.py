"""What the processes of a day find in their environment."""

from __future__ import annotations

import ctypes.util
from collections.abc import Iterable, Mapping
from pathlib import Path

from benchmarks.other_python import LIBRARIES, clean_environment

DRIVER = "libcuda.so.1"
# Where containers have the driver's libraries without telling the loader.
DRIVER_FOLDERS = ("/usr/local/nvidia/lib64", "/usr/local/nvidia/lib", "/usr/lib64", "/usr/local/cuda/compat")


def environment(given: Mapping[str, str], work: Path, rows: Path, *, other_python: bool) -> dict[str, str]:
    """Return the environment of a step: the given one, without what only the Python that runs can live with.

    Whatever libraries keep for later is kept in ``work``, so that a second start need not do it again.
    """
    found = {
        **(clean_environment(given) if other_python else given),
        "PYTHONUNBUFFERED": "1",
        "NO_COLOR": "1",
        "COLUMNS": "200",
        "CUDA_MODULE_LOADING": "LAZY",
        "CUDA_CACHE_PATH": str(work / "cuda-cache"),
        "TORCHINDUCTOR_CACHE_DIR": str(work / "inductor"),
        "TRITON_CACHE_DIR": str(work / "triton"),
        "FSR_CACHE": str(work / "cache"),
        "FSR_GPU_BUNDLES": str(work / "test-bundles"),
        "FSR_GPU_ROWS": str(rows),
    }
    if folder := driver_folder():
        found[LIBRARIES] = ":".join(filter(None, (found.get(LIBRARIES), folder)))
    return found


def driver_folder(folders: Iterable[str] = DRIVER_FOLDERS) -> str:
    """Return the folder of a driver that the loader would not find, "" where it finds one or there is none."""
    if ctypes.util.find_library("cuda"):
        return ""
    return next((folder for folder in folders if (Path(folder) / DRIVER).exists()), "")
