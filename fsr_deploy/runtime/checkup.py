"""What this machine has, what each command can do on it, and how to add or mend what is missing."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from typing import Any

from fsr_deploy import __version__
from fsr_deploy._util import imports
from fsr_deploy._util.cache_folder import find_cache
from fsr_deploy._util.cores import physical_cores, quota, usable_cores
from fsr_deploy._util.import_trial import try_imports
from fsr_deploy._util.imports import LIBRARIES, ONNXRUNTIMES, BrokenLibrary, import_fault, uninstall
from fsr_deploy._util.log import say
from fsr_deploy.errors import MissingError
from fsr_deploy.runtime.cuda.driver import has_gpu
from fsr_deploy.runtime.machine import BF16, VNNI, instructions


@dataclass(frozen=True)
class Component:
    """A part that commands need: whether it works, as one line, and the extra that installs it ("" for none).

    ``mend`` is the command for what is broken, "" where nothing is.
    """

    name: str
    works: bool
    state: str
    extra: str = ""
    mend: str = ""


@dataclass(frozen=True)
class Purpose:
    """Something a command does, and the parts that it needs."""

    command: str
    does: str
    needs: tuple[str, ...]


BASE = {"numpy": "NumPy", "cv2": "OpenCV", "PIL.Image": "Pillow", "filelock": "filelock"}


INSTALLED = {  # modules by the names of their distributions, which are the parts' names, and their extras
    "torch": ("torch", "export"),
    "onnx": ("onnx", "export"),
    "onnxscript": ("onnxscript", "export"),
    "safetensors": ("safetensors", "export"),
    "lightning_fabric": ("lightning-fabric", "train"),
    "av": ("av", "video"),
    "model_signing": ("model-signing", "sign"),
    "cyclonedx.model.bom": ("cyclonedx-python-lib", "sign"),
}


BASE_PARTS = tuple(BASE.values())


GPU_PARTS = ("GPU", "TensorRT", "cuda-bindings")


RTX = "TensorRT for RTX"


EXPORT_PARTS = (*BASE_PARTS, "torch", "onnx", "onnxscript", "onnxruntime", "safetensors")


TRAIN_PARTS = (*BASE_PARTS, "torch", "lightning-fabric", "safetensors")


JOBS = (
    Purpose("fsr-run", "run model.onnx with ONNX Runtime", (*BASE_PARTS, "onnxruntime")),
    Purpose("fsr-run", "run model.onnx with OpenVINO", (*BASE_PARTS, "OpenVINO")),
    Purpose("fsr-run", "run engine.plan with TensorRT", (*BASE_PARTS, *GPU_PARTS)),
    Purpose("fsr-run", "run engine.plan with TensorRT for RTX", (*BASE_PARTS, "GPU", RTX, "cuda-bindings")),
    Purpose("fsr-run", "read and write films", (*BASE_PARTS, "av")),
    Purpose("fsr-run --cluster", "run on a cluster", (*BASE_PARTS, "ray")),
    Purpose("fsr-export", "write and prove model.onnx", EXPORT_PARTS),
    Purpose("fsr-export", "and its engine.plan", (*EXPORT_PARTS, *GPU_PARTS)),
    Purpose("fsr-export --target rtx", "compile engine.plan for RTX cards", (*EXPORT_PARTS, RTX)),
    Purpose("fsr-export --rebuild", "build and prove a bundle's engine.plan", (*BASE_PARTS, *GPU_PARTS)),
    Purpose("fsr-export --sign", "sign bundles, and fsr-run --verify", ("NumPy", "model-signing")),
    Purpose("fsr-export --sbom", "write a bundle's bill of materials", ("NumPy", "cyclonedx-python-lib")),
    Purpose("fsr-profile", "measure model.onnx", ("NumPy", "onnxruntime")),
    Purpose("fsr-profile", "measure engine.plan", ("NumPy", *GPU_PARTS)),
    Purpose("fsr-demo", "show a bundle in the browser", (*BASE_PARTS, "onnxruntime", "gradio")),
    Purpose("fsr-train, fsr-eval", "train and measure networks", TRAIN_PARTS),
)


def look_around() -> list[Component]:
    """Return the parts that commands need, each tried in the way a command uses it."""
    say("trying each library, which takes some seconds")
    wrong = try_imports(tuple(LIBRARIES))
    found = [_try("processor", _processor), _try("cache", _cache), _try("driver", _driver), _try("GPU", _gpus)]
    found += [_base(module, name, wrong.get(module)) for module, name in BASE.items()]
    found += [_try("TensorRT", _tensorrt, "gpu", wrong.get("tensorrt"))]
    found += [_try(RTX, _tensorrt_rtx, wrong=wrong.get("tensorrt_rtx"))]
    found += [_try("cuda-bindings", _cuda_bindings, "gpu", wrong.get("cuda.bindings.runtime"))]
    found += [_onnxruntime(has_gpu(), wrong.get("onnxruntime")), _openvino(wrong.get("openvino"))]
    found += [_installed(name, extra, wrong.get(module)) for module, (name, extra) in INSTALLED.items()]
    found += [_try("ray", lambda: _wanted_seldom("ray.data"), wrong=wrong.get("ray.data"))]
    return [*found, _try("gradio", lambda: _wanted_seldom("gradio"), wrong=wrong.get("gradio"))]


def missing(job: Purpose, parts: list[Component]) -> list[str]:
    """Return the names of the parts that a job lacks."""
    return [part.name for part in parts if part.name in job.needs and not part.works]


def mend_lines(parts: list[Component]) -> list[str]:
    """Return the commands that repair what is broken, each once; only NumPy's where it may be why others fail."""
    first = [part.mend for part in parts if part.name == "NumPy" and part.mend]
    return first or list(dict.fromkeys(part.mend for part in parts if part.mend))


def install_line(parts: list[Component]) -> str:
    """Return the one command that installs what is missing, "" where nothing useful on this machine is missing."""
    gpu = any(part.name == "GPU" and part.works for part in parts)
    lacking = [part for part in parts if not part.works and not part.mend]
    extras = {part.extra for part in lacking if part.extra and (gpu or part.extra != "gpu")}
    if not extras:
        return ""
    # The extra "gpu" brings an ONNX Runtime that holds the same files as the one for CPUs.
    before = f"{uninstall(ONNXRUNTIMES)}; " if "gpu" in extras and _is_installed("onnxruntime") else ""
    return f"{before}pip install 'fsr-deploy[{','.join(sorted(extras))}]'"


def tensorrt_faults(parts: list[Component]) -> list[str]:
    """Return the known faults of the TensorRT that is installed, one sentence each."""
    from fsr_deploy.runtime.tensorrt.faults import known_faults

    return [fault for part in parts if part.name == "TensorRT" and part.works for fault in known_faults(part.state)]


def as_json(parts: list[Component]) -> dict[str, Any]:
    """Return the findings as plain data."""
    return {
        "fsr_deploy": __version__,
        "python": platform.python_version(),
        "platform": f"{platform.system()}-{platform.machine()}".lower(),
        "cores": {"usable": usable_cores(), "physical": physical_cores(), "quota": quota()},
        "parts": [asdict(part) for part in parts],
        "jobs": [{"command": j.command, "does": j.does, "missing": missing(j, parts)} for j in JOBS],
        "known_faults": tensorrt_faults(parts),
        "mend": mend_lines(parts),
        "install": install_line(parts) or None,
    }


def _try(name: str, look: Callable[[], str], extra: str = "", wrong: MissingError | None = None) -> Component:
    """Look in this process, unless the trial found the library broken."""
    try:
        if isinstance(wrong, BrokenLibrary):
            raise wrong
        return Component(name, True, look(), extra)
    except BrokenLibrary as error:
        return Component(
            name, False, f"no: broken installation: {error.library.title}: {error.reason}", extra, error.library.mend
        )
    except MissingError as error:
        return Component(name, False, f"no: {error}", extra)
    except Exception as error:
        known = import_fault(error)
        mend = known.library.mend if isinstance(known, BrokenLibrary) else ""
        return Component(name, False, f"no: {known or f'{type(error).__name__}: {error}'}", extra, mend)


def _processor() -> str:
    limit = quota()
    bound = f", by a quota of {limit:g}" if limit is not None else ""
    return f"{usable_cores()} logical and {physical_cores()} physical cores to use{bound}"


def _cache() -> str:
    try:
        return str(find_cache())
    except RuntimeError:
        raise MissingError("this user has no home directory; FSR_CACHE=FOLDER names one") from None


def _driver() -> str:
    from fsr_deploy.runtime.cuda.driver import find_driver

    driver = find_driver()
    return f"{driver.version or 'of unknown version'}, up to CUDA {driver.cuda[0]}.{driver.cuda[1]}"


def _gpus() -> str:
    from fsr_deploy.runtime.cuda.driver import find_driver

    gpus = find_driver().gpus
    if not gpus:
        raise MissingError("the driver finds none")
    return "; ".join(f"cuda:{gpu.index} {gpu.name}, {gpu.sm}, {gpu.memory / 2**30:.0f} GiB" for gpu in gpus)


def _tensorrt() -> str:
    from fsr_deploy.runtime.tensorrt.library import load

    return load().__version__


def _tensorrt_rtx() -> str:
    from fsr_deploy.runtime.tensorrt.flavour import RTX as FLAVOUR
    from fsr_deploy.runtime.tensorrt.library import load

    return load(FLAVOUR).__version__


def _cuda_bindings() -> str:
    from fsr_deploy.runtime.cuda import api as cuda

    cuda.runtime()
    return metadata.version("cuda-bindings")


def _base(module: str, name: str, wrong: MissingError | None) -> Component:
    """Return a library that this package requires: if it is missing, something removed it."""
    part = _try(
        name,
        lambda: str(imports.load(module).__version__) if module != "PIL.Image" else metadata.version("pillow"),
        "",
        wrong,
    )
    return part if part.works or part.mend else replace(part, mend=LIBRARIES[module].install)


def _onnxruntime(gpu: bool, wrong: MissingError | None) -> Component:
    extra = "gpu" if gpu else "cpu"
    line = f"{uninstall(ONNXRUNTIMES)}; pip install 'fsr-deploy[{extra}]'"
    part = _try("onnxruntime", _providers, extra, wrong)
    if part.mend:
        return replace(part, mend=line)
    if part.works and all(map(_is_installed, ONNXRUNTIMES)):
        both = f"{part.state}; {' and '.join(ONNXRUNTIMES)} are both installed and overwrite each other's files"
        return replace(part, state=both, mend=line)
    return part


def _providers() -> str:
    ort = imports.load("onnxruntime")
    return f"{ort.__version__}: {', '.join(ort.get_available_providers())}"


def _openvino(wrong: MissingError | None) -> Component:
    """Return OpenVINO, and whether it is worth having on this CPU; only then its extra is among what is missing."""
    found = sorted(BF16 & set(instructions()))
    if found:
        worth = f"this CPU has {' and '.join(found)}: fsr-export --fastest tells whether BF16 or INT8 is faster there"
    elif VNNI & set(instructions()):
        worth = "this CPU has no BF16, but VNNI for INT8: fsr-profile --against openvino tells which is faster"
    else:
        worth = "it pays on CPUs with AMX, AVX512-BF16 or VNNI, and this one has none of them"
    part = _try("OpenVINO", _openvino_devices, "openvino" if found else "", wrong)
    return replace(part, state=f"{part.state}; {worth}")


def _openvino_devices() -> str:
    from fsr_deploy.runtime.backends.openvino import core  # which needs NumPy, that may be broken

    openvino = imports.load("openvino")
    return f"{openvino.__version__.partition('-')[0]}: {', '.join(core().available_devices)}"


def _installed(name: str, extra: str, wrong: MissingError | None) -> Component:
    """Return a library by its metadata and the trial: importing PyTorch here again would take seconds."""
    if not _is_installed(name):
        return Component(name, False, "no: not installed", extra)
    return _try(name, lambda: metadata.version(name), extra, wrong)


def _wanted_seldom(module: str) -> str:
    """Return the version of a library whose extra is not among what is missing; importing it takes seconds."""
    library = LIBRARIES[module]
    if not _is_installed(library.distribution):
        raise MissingError(f"{library.title} is not installed; install it with: {library.install}")
    return metadata.version(library.distribution)


def _is_installed(distribution: str) -> bool:
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True
