"""What a latency depends on besides the engine: the machine, its clocks, its load and the libraries' versions."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from fsr_deploy._util.cores import usable_cores

LIBRARIES = ("fsr-deploy", "numpy", "onnxruntime", "onnxruntime-gpu", "tensorrt", "cuda-bindings", "torch", "openvino")
INSTRUCTIONS = (
    *("avx2", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16"),  # x86
    *("asimd", "asimddp", "i8mm", "bf16", "sve", "sve2"),  # Arm
)  # those that matter for the speed of FP32 and INT8 kernels, as Linux names them
VNNI = {"avx_vnni", "avx512_vnni", "amx_int8"}  # x86: products of 8 bits are added in 32
AMX = "amx_int8"
BF16 = {"avx512_bf16", "amx_bf16", "bf16"}
GPU_FIELDS = "name,driver_version,clocks.sm,clocks.max.sm,clocks.mem,power.limit"


@dataclass(frozen=True)
class Machine:
    """Facts from the system; empty or None where it gives none.

    ``cores`` are those this process may use, ``clock_mhz`` their mean clock at the time of asking. ``gpus`` holds one
    line of nvidia-smi for each GPU: name, driver, SM clock and its maximum, memory clock, power limit.
    ``instructions`` are those of INSTRUCTIONS that the CPU has.
    """

    cpu: str
    cores: int
    clock_mhz: float | None
    governor: str | None
    memory_gib: float | None
    system: str
    gpus: tuple[str, ...]
    versions: dict[str, str]
    instructions: tuple[str, ...] = ()


@dataclass(frozen=True)
class MachineLoad:
    """How busy the machine was with other work during the measurement.

    ``before`` and ``after`` are load averages over one minute; ``others`` is the share of all cores' time that other
    processes took, ``stolen`` the share that the hypervisor gave to other machines. None where the system does not say.
    """

    before: float | None
    after: float | None
    others: float | None
    stolen: float | None


def machine() -> Machine:
    """Return the facts of this machine."""
    cpuinfo = _text("/proc/cpuinfo")
    clocks = [float(value) for value in _values(cpuinfo, "cpu MHz")]
    memory = [float(value.split()[0]) for value in _values(_text("/proc/meminfo"), "MemTotal")]
    return Machine(
        cpu=next(iter(_values(cpuinfo, "model name")), platform.processor() or platform.machine()),
        cores=usable_cores(),
        clock_mhz=round(sum(clocks) / len(clocks), 1) if clocks else None,
        governor=_text("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").strip() or None,
        memory_gib=round(memory[0] / (1 << 20), 1) if memory else None,
        system=f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        gpus=_gpus(),
        versions=_versions(),
        instructions=_instructions(cpuinfo),
    )


def instructions() -> tuple[str, ...]:
    """Return those of INSTRUCTIONS that this CPU has, none where the system does not say."""
    return _instructions(_text("/proc/cpuinfo"))


def multiplies_int8_exactly() -> bool:
    """Tell whether sums of 8-bit products cannot overflow: on x86 only with VNNI, whoever computes them fast."""
    return platform.machine().lower() not in ("x86_64", "amd64") or bool(VNNI & set(instructions()))


def computes_bf16() -> bool:
    """Tell whether this CPU has instructions for BF16."""
    return bool(BF16 & set(instructions()))


class LoadMeter:
    """Watches the machine's load from its creation on."""

    def __init__(self) -> None:
        self._before, self._start, self._own = _load_average(), _processor_seconds(), _own_seconds()

    def read(self) -> MachineLoad:
        """Return the load since the creation."""
        now = _processor_seconds()
        if not self._start or not now:
            return MachineLoad(self._before, _load_average(), None, None)
        busy, stolen, total = (max(new - old, 0.0) for new, old in zip(now, self._start, strict=True))
        others = max(busy - (_own_seconds() - self._own), 0.0)
        total = max(total, 1e-9)
        return MachineLoad(self._before, _load_average(), round(min(others / total, 1.0), 3), round(stolen / total, 3))


def _processor_seconds() -> tuple[float, float, float] | None:
    """Return the seconds of all cores: busy, taken by the hypervisor, and in total."""
    fields = _text("/proc/stat").partition("\n")[0].split()[1:9]
    if len(fields) < 8:
        return None
    user, nice, system, idle, waiting, interrupts, soft_interrupts, stolen = map(int, fields)
    busy = user + nice + system + interrupts + soft_interrupts
    ticks = os.sysconf("SC_CLK_TCK")
    return busy / ticks, stolen / ticks, (busy + idle + waiting + stolen) / ticks


def _own_seconds() -> float:
    used = os.times()
    return time.process_time() + used.children_user + used.children_system


def _load_average() -> float | None:
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def _versions() -> dict[str, str]:
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _gpus() -> tuple[str, ...]:
    command = ["nvidia-smi", f"--query-gpu={GPU_FIELDS}", "--format=csv,noheader"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(line.strip() for line in answer.stdout.splitlines() if line.strip())


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _instructions(cpuinfo: str) -> tuple[str, ...]:
    flags = {flag for key in ("flags", "Features") for line in _values(cpuinfo, key)[:1] for flag in line.split()}
    return tuple(name for name in INSTRUCTIONS if name in flags)


def _values(text: str, key: str) -> list[str]:
    return [line.partition(":")[2].strip() for line in text.splitlines() if line.partition(":")[0].strip() == key]
