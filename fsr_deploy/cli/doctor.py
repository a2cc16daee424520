"""fsr-doctor: what this machine has, what each command can do on it, and how to add what is missing."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Annotated, Any

import typer

from fsr_deploy import __version__
from fsr_deploy.console import command, print_json
from fsr_deploy.errors import MissingError


@dataclass(frozen=True)
class Part:
    """A part that commands need: whether it works, as one line, and the extra that installs it ("" for none)."""

    name: str
    works: bool
    state: str
    extra: str = ""


@dataclass(frozen=True)
class Job:
    """Something a command does, and the parts that it needs."""

    command: str
    does: str
    needs: tuple[str, ...]


GPU_PARTS = ("GPU", "TensorRT", "cuda-bindings")
EXPORT_PARTS = ("torch", "onnx", "onnxscript", "onnxruntime", "safetensors")
TRAIN_PARTS = ("torch", "lightning-fabric", "torchmetrics", "safetensors")
JOBS = (
    Job("fsr-run", "run model.onnx with ONNX Runtime", ("onnxruntime",)),
    Job("fsr-run", "run engine.plan with TensorRT", GPU_PARTS),
    Job("fsr-export", "write and prove model.onnx", EXPORT_PARTS),
    Job("fsr-export", "and its engine.plan", (*EXPORT_PARTS, *GPU_PARTS)),
    Job("fsr-export --rebuild", "build and prove a bundle's engine.plan", GPU_PARTS),
    Job("fsr-profile", "measure model.onnx", ("onnxruntime",)),
    Job("fsr-profile", "measure engine.plan", GPU_PARTS),
    Job("fsr-train, fsr-eval", "train and measure networks", TRAIN_PARTS),
)


@command
def main(
    json: Annotated[bool, typer.Option("--json", help="Print the findings to stdout as JSON.")] = False,
) -> None:
    """Say what this machine has, what each command can do on it, and the one command that adds what is missing.

    \b
    fsr-doctor
    fsr-doctor --json
    fsr-doctor --json | jq .install
    """
    parts = look_around()
    if json:
        print_json(as_json(parts))
        return
    print(f"fsr-deploy {__version__}, Python {platform.python_version()}, {platform.system()} {platform.machine()}\n")
    for part in parts:
        print(f"  {part.name:<16}  {part.state}")
    print()
    for job in JOBS:
        lacking = missing(job, parts)
        print(f"  {job.command:<20}  {job.does}: {'no, it lacks ' + ', '.join(lacking) if lacking else 'yes'}")
    print(
        f"\nTo add what is missing: {line}"
        if (line := install_line(parts))
        else "\nNothing that pip could add is missing."
    )


def look_around() -> list[Part]:
    """Return the parts that commands need, each tried as a command would."""
    found = [_try("driver", _driver), _try("GPU", _gpus), _try("TensorRT", _tensorrt, "gpu")]
    found += [_try("cuda-bindings", _cuda_bindings, "gpu")]
    found += [_try("onnxruntime", _onnxruntime, "gpu" if found[1].works else "cpu")]
    found += [_installed(name, "export") for name in ("torch", "onnx", "onnxscript", "safetensors")]
    return found + [_installed(name, "train") for name in ("lightning-fabric", "torchmetrics")]


def missing(job: Job, parts: list[Part]) -> list[str]:
    """Return the names of the parts that a job lacks."""
    return [part.name for part in parts if part.name in job.needs and not part.works]


def install_line(parts: list[Part]) -> str:
    """Return the one command that installs what is missing, "" where nothing is that this machine could use."""
    has_gpu = any(part.name == "GPU" and part.works for part in parts)
    extras = {part.extra for part in parts if not part.works and part.extra and (has_gpu or part.extra != "gpu")}
    return f"pip install 'fsr-deploy[{','.join(sorted(extras))}]'" if extras else ""


def as_json(parts: list[Part]) -> dict[str, Any]:
    """Return the findings as plain data."""
    return {
        "fsr_deploy": __version__,
        "python": platform.python_version(),
        "platform": f"{platform.system()}-{platform.machine()}".lower(),
        "parts": [asdict(part) for part in parts],
        "jobs": [{"command": j.command, "does": j.does, "missing": missing(j, parts)} for j in JOBS],
        "install": install_line(parts) or None,
    }


def _try(name: str, look: Callable[[], str], extra: str = "") -> Part:
    try:
        return Part(name, True, look(), extra)
    except MissingError as error:
        return Part(name, False, f"no: {error}", extra)


def _driver() -> str:
    from fsr_deploy.runtime.driver import find_driver

    driver = find_driver()
    return f"{driver.version or 'of unknown version'}, up to CUDA {driver.cuda[0]}.{driver.cuda[1]}"


def _gpus() -> str:
    from fsr_deploy.runtime.driver import find_driver

    gpus = find_driver().gpus
    if not gpus:
        raise MissingError("the driver finds none")
    return "; ".join(f"cuda:{gpu.index} {gpu.name}, {gpu.sm}, {gpu.memory / 2**30:.0f} GiB" for gpu in gpus)


def _tensorrt() -> str:
    from fsr_deploy.runtime.tensorrt_library import load

    return load().__version__


def _cuda_bindings() -> str:
    from fsr_deploy.runtime import cuda

    cuda.runtime()
    return metadata.version("cuda-bindings")


def _onnxruntime() -> str:
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingError(f"cannot be imported ({error})") from error
    return f"{onnxruntime.__version__}: {', '.join(onnxruntime.get_available_providers())}"


def _installed(name: str, extra: str) -> Part:
    """Look at what is installed only: importing PyTorch takes seconds."""
    try:
        return Part(name, True, metadata.version(name), extra)
    except metadata.PackageNotFoundError:
        return Part(name, False, "no: not installed", extra)


if __name__ == "__main__":
    main()
