"""Cold start and memory of an engine, measured in fresh processes.

``python -m fsr_deploy.profiling.cold ENGINE DEVICE BACKEND TRUST`` is such a process.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from fsr_deploy._util.json_records import decode
from fsr_deploy.errors import FsrError, InputError, MissingError
from fsr_deploy.runtime.cuda import api as cuda
from fsr_deploy.runtime.open import open_session

STARTS = 3
MIB = 1 << 20


@dataclass(frozen=True)
class ColdStart:
    """Seconds to load the engine, its libraries included, and then to give the first face; memory in MiB.

    ``peak_mib`` is the process's peak of main memory, None on other systems than Linux; ``gpu_mib`` the GPU memory that
    it took (without CUDA's own context), None on a CPU. The engine's file is in the system's file cache.
    """

    load_s: float
    first_s: float
    peak_mib: float | None
    gpu_mib: float | None


def cold_start(engine: Path, device: str, *, backend: str | None = None, trust: bool = False) -> ColdStart:
    """Start a fresh process a few times and return the median of each figure. Raises InputError with the process's
    error where the engine does not start there.
    """
    starts = [_start(engine, device, backend, trust) for _ in range(STARTS)]
    return ColdStart(
        load_s=_median([start.load_s for start in starts]),
        first_s=_median([start.first_s for start in starts]),
        peak_mib=_median_of_known([start.peak_mib for start in starts]),
        gpu_mib=_median_of_known([start.gpu_mib for start in starts]),
    )


def _start(engine: Path, device: str, backend: str | None, trust: bool) -> ColdStart:
    command = [sys.executable, "-m", __spec__.name, str(engine), device, backend or "", str(int(trust))]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        words = (done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"])[-1]
        raise InputError(f"{engine}: does not start in a fresh process: {words}")
    return decode(ColdStart, json.loads(done.stdout), "cold start")


def _measure(engine: Path, device: str, backend: str | None, trust: bool) -> ColdStart:
    """Measure this process, in which no large library is loaded yet."""
    start = time.perf_counter()
    free = _free_gpu_memory(device)
    session = open_session(engine, device, backend=backend, trust=trust)
    loaded = time.perf_counter()
    session.upscale(np.zeros((1, *session.info.lr_shape, 3), np.uint8))
    done = time.perf_counter()
    left = _free_gpu_memory(device)
    return ColdStart(
        load_s=loaded - start,
        first_s=done - loaded,
        peak_mib=_peak_memory(),
        gpu_mib=None if free is None or left is None else (free - left) / MIB,
    )


def _free_gpu_memory(device: str) -> int | None:
    if not device.startswith("cuda:"):
        return None
    try:
        cuda.use_device(int(device.removeprefix("cuda:")))
        return cuda.memory()[0]
    except MissingError:
        return None


def _peak_memory() -> float | None:
    """Return the process's peak in MiB; getrusage would include memory of the parent process."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:")), None)


def _median_of_known(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return _median(known) if known else None


def _median(values: list[float]) -> float:
    return float(np.median(values))


if __name__ == "__main__":
    _, engine, device, backend, trust = sys.argv
    try:
        print(json.dumps(asdict(_measure(Path(engine), device, backend or None, trust == "1"))))
    except FsrError as error:
        sys.exit(str(error))
