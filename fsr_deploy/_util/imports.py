"""Third-party libraries, imported when they are needed. A failure is one sentence with the next step.

An import can fail in any way: not installed (ModuleNotFoundError), a system library that is not there (ImportError,
OSError), built for another NumPy (AttributeError), half of the files gone (an empty module). None of these is a defect
of this package, so none ends in a traceback.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType, ModuleType

from fsr_deploy.errors import MissingError

ONNXRUNTIMES = ("onnxruntime", "onnxruntime-gpu")
OPENCVS = ("opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless")
PACKAGE = Path(__file__).parents[1]
REASON_LENGTH = 300


@dataclass(frozen=True)
class Library:
    """A library: its distribution, a member that a whole installation has, and the commands that install and mend
    it."""

    title: str
    distribution: str
    member: str
    install: str
    mend: str


def _library(title: str, distribution: str, member: str, extra: str = "", rivals: Iterable[str] = ()) -> Library:
    """Describe a library; ``extra`` of this package brings it, and ``rivals`` overwrite each other's files."""
    install = f"pip install 'fsr-deploy[{extra}]'" if extra else f"pip install {distribution}"
    mend = f"{uninstall(rivals)}; {install}" if rivals else f"pip install --force-reinstall {distribution}"
    return Library(title, distribution, member, install, mend)


def uninstall(distributions: Iterable[str]) -> str:
    """Return the command that removes distributions, those that are not installed included."""
    return f"pip uninstall -y {' '.join(distributions)}"


def one_onnxruntime(extra: str = "") -> str:
    """Return how to install ONNX Runtime: one of two packages. ``extra`` is another extra that is wanted with it."""
    before = f"{extra}," if extra else ""
    return f"pip install 'fsr-deploy[{before}cpu]', or 'fsr-deploy[{before}gpu]' on a machine with an NVIDIA GPU"


LIBRARIES = {
    "numpy": _library("NumPy", "numpy", "ndarray"),
    "cv2": _library("OpenCV", "opencv-python-headless", "imdecode", rivals=OPENCVS),
    "PIL.Image": _library("Pillow", "pillow", "open"),
    "filelock": _library("filelock", "filelock", "FileLock"),
    "onnxruntime": Library(
        "ONNX Runtime",
        "onnxruntime",
        "InferenceSession",
        one_onnxruntime(),
        f"{uninstall(ONNXRUNTIMES)}; {one_onnxruntime()}",
    ),
    "tensorrt": _library("TensorRT", "tensorrt", "Builder", "gpu"),
    "tensorrt_rtx": _library("TensorRT for RTX", "tensorrt-rtx", "Builder", "rtx"),
    "cuda.bindings.runtime": _library("cuda-bindings", "cuda-bindings", "cudaMalloc", "gpu"),
    "av": _library("PyAV", "av", "open", "video"),
    "openvino": _library("OpenVINO", "openvino", "Core", "openvino"),
    "spandrel": _library("spandrel", "spandrel", "ModelLoader", "models"),
    "tritonclient.grpc.model_config_pb2": _library("tritonclient", "tritonclient", "ModelConfig", "triton"),
    "ray.data": _library("Ray Data", "ray", "from_arrow", "cluster"),
    "gradio": _library("Gradio", "gradio", "Blocks", "demo"),
    "model_signing": _library("model-signing", "model-signing", "signing", "sign"),
    "cyclonedx.model.bom": _library("cyclonedx-python-lib", "cyclonedx-python-lib", "Bom", "sign"),
    "torch": _library("PyTorch", "torch", "Tensor", "export"),
    "onnx": _library("onnx", "onnx", "load", "export"),
    "onnxscript": _library("onnxscript", "onnxscript", "ir", "export"),
    "safetensors": _library("safetensors", "safetensors", "safe_open", "export"),
    "lightning_fabric": _library("lightning-fabric", "lightning-fabric", "Fabric", "train"),
}
_BY_PACKAGE = {module.partition(".")[0]: library for module, library in LIBRARIES.items()}


class BrokenLibrary(MissingError):
    """A library that is there and cannot be used, and the reason."""

    def __init__(self, library: Library, reason: str) -> None:
        super().__init__(f"{library.title} is broken ({reason}); mend it with: {library.mend}")
        self.library, self.reason = library, reason


def load(module: str, install: str = "") -> ModuleType:
    """Import a library; raises MissingError with the next step where that fails for any reason.

    ``install`` is the command to name where it is not installed, instead of that of LIBRARIES.
    """
    library = LIBRARIES.get(module) or _known(_package(module))
    if install:
        library = replace(library, install=install)
    try:
        with _home():
            found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and module.startswith(error.name):
            raise _not_installed(library) from None
        raise import_fault(error) or BrokenLibrary(library, _reason(error)) from error
    except Exception as error:
        raise import_fault(error) or BrokenLibrary(library, _reason(error)) from error
    if _is_hollow(found):
        raise _hollow(found)
    return found


@contextmanager
def _home() -> Iterator[None]:
    """Name a home directory where a container's user has none: OpenVINO asks for one while it is imported."""
    try:
        Path.home()
    except RuntimeError:
        os.environ["HOME"] = os.devnull
        try:
            yield
        finally:
            del os.environ["HOME"]
    else:
        yield


def import_fault(error: BaseException) -> MissingError | None:
    """Return what a user must know if an exception comes from importing a library; None for other exceptions.

    After a failed import, the traceback has the library's top level, "<module>", right after our own line. A library
    that was emptied by removing another package can be imported, and fails when it is used.
    """
    if isinstance(error, AttributeError) and isinstance(error.obj, ModuleType) and _is_hollow(error.obj):
        return _hollow(error.obj)
    behind = _behind_ours(error)
    importing = [frame for frame in behind if _is_importlib(frame)]
    called = [frame for frame in behind if not _is_importlib(frame)]
    executed = [_package(frame.f_globals.get("__name__", "")) for frame in called if _is_top_level(frame)]
    named = [_package(name) for name in _names(error, [] if called else importing)]
    by_us = _is_top_level(called[0]) if called else bool(named)
    if PACKAGE.name in named or not (by_us or isinstance(error, ImportError)):
        return None
    suspects = [name for name in (*executed, *named) if name and name not in sys.stdlib_module_names]
    if not suspects:
        return None
    culprit = next((name for name in reversed(suspects) if name in _BY_PACKAGE), suspects[0])
    if isinstance(error, ModuleNotFoundError) and culprit not in executed:
        return _not_installed(_known(culprit))
    return BrokenLibrary(_known(culprit), _reason(error))


def _behind_ours(error: BaseException) -> list[FrameType]:
    """Return the frames of an exception after the last one of this package."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    ours = [index for index, frame in enumerate(frames) if PACKAGE in Path(frame.f_code.co_filename).parents]
    return frames[ours[-1] + 1 :] if ours else []


def _names(error: BaseException, importing: list[FrameType]) -> list[str]:
    """Return the modules that failed, as named by the exception or by the import system's frames."""
    names = [frame.f_locals["name"] for frame in importing if frame.f_code.co_name == "_find_and_load"]
    if isinstance(error, ImportError) and error.name:
        names.append(error.name)
    if isinstance(error, SyntaxError) and error.filename and PACKAGE not in Path(error.filename).parents:
        file = Path(error.filename)
        places = [place for place in sys.path if place and Path(place) in file.parents]
        names += [file.relative_to(max(places, key=len)).parts[0]] if places else []
    return names


def _is_importlib(frame: FrameType) -> bool:
    return frame.f_globals.get("__name__", "").partition(".")[0] in ("importlib", "_frozen_importlib")


def _is_top_level(frame: FrameType) -> bool:
    return frame.f_code.co_name == "<module>"


def _package(module: str) -> str:
    return module.partition(".")[0]


def _known(package: str) -> Library:
    return _BY_PACKAGE.get(package) or _library(package, package, "")


def _not_installed(library: Library) -> MissingError:
    return MissingError(f"{library.title} is not installed; install it with: {library.install}")


def _is_hollow(module: ModuleType) -> bool:
    """Return why a module of LIBRARIES is incomplete."""
    library = LIBRARIES.get(module.__name__)
    return library is not None and not hasattr(module, library.member)


def _hollow(module: ModuleType) -> BrokenLibrary:
    library = LIBRARIES[module.__name__]
    return BrokenLibrary(library, f"it holds no {library.member}: a package that shares its files was removed")


def _reason(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:REASON_LENGTH] if text else type(error).__name__
