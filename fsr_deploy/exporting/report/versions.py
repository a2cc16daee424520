"""The versions of what took part in an export, and in the build of a plan on another machine."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version

from fsr_deploy import __version__
from fsr_deploy.bundle.info import REBUILT

OF_EXPORT = (
    "torch",
    "onnx",
    "onnxscript",
    "onnxruntime",
    "onnxruntime-gpu",
    "numpy",
    "opencv-python-headless",
    "pillow",
)
OF_REBUILD = ("tensorrt", "cuda-bindings", "numpy", "opencv-python-headless", "pillow")


def versions(packages: Iterable[str] = OF_EXPORT) -> dict[str, str]:
    """Return the versions of fsr-deploy, Python and those packages that are installed, and the system's name."""
    found = {"fsr-deploy": __version__, "python": platform.python_version(), "system": platform.platform()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def with_rebuild(exported: Mapping[str, str]) -> dict[str, str]:
    """Return the versions of an export and those of the rebuild that is running, in place of an earlier one's."""
    kept = {name: text for name, text in exported.items() if not name.startswith(REBUILT)}
    return kept | {f"{REBUILT}{name}": text for name, text in versions(OF_REBUILD).items()}
