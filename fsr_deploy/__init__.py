"""From a face super-resolution network in PyTorch to a proven engine that runs at full speed.

    import fsr_deploy as fsr

    bundle = fsr.export("aminet", checkpoint="aminet.safetensors", precision="fp16", output="aminet-fp16")
    with fsr.load(bundle) as upscaler:
        sr = upscaler("face.png")

Everything here is loaded when it is first used: importing this package loads neither PyTorch nor ONNX.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fsr_deploy import models as models
    from fsr_deploy.bundle.bill import write_sbom as write_sbom
    from fsr_deploy.bundle.info import Bundle as Bundle
    from fsr_deploy.bundle.info import BundleInfo as BundleInfo
    from fsr_deploy.bundle.signature import sign as sign
    from fsr_deploy.bundle.signature import verify as verify
    from fsr_deploy.choosing.fastest import fastest as fastest
    from fsr_deploy.errors import FsrError as FsrError
    from fsr_deploy.errors import InputError as InputError
    from fsr_deploy.errors import MissingError as MissingError
    from fsr_deploy.errors import ParityError as ParityError
    from fsr_deploy.errors import UsageError as UsageError
    from fsr_deploy.exporting.export import export as export
    from fsr_deploy.exporting.tensorrt.rebuild import prove as prove
    from fsr_deploy.exporting.tensorrt.rebuild import rebuild as rebuild
    from fsr_deploy.faces.face import Face as Face
    from fsr_deploy.metrics.evaluate import evaluate as evaluate
    from fsr_deploy.models.registry import ModelRecord as ModelRecord
    from fsr_deploy.models.registry import register as register
    from fsr_deploy.profiling.profile import profile as profile
    from fsr_deploy.upscaler import Upscaler as Upscaler
    from fsr_deploy.upscaler import load as load

__version__ = "0.1.0"

# ONNX Runtime from 1.32 on tells its maker what runs, unless this is set before it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

# Where each public name lives.
_HOMES = {
    "Bundle": "bundle.info",
    "BundleInfo": "bundle.info",
    "Face": "faces.face",
    "FsrError": "errors",
    "InputError": "errors",
    "MissingError": "errors",
    "ModelRecord": "models.registry",
    "ParityError": "errors",
    "Upscaler": "upscaler",
    "UsageError": "errors",
    "evaluate": "metrics.evaluate",
    "export": "exporting.export",
    "fastest": "choosing.fastest",
    "load": "upscaler",
    "profile": "profiling.profile",
    "prove": "exporting.tensorrt.rebuild",
    "rebuild": "exporting.tensorrt.rebuild",
    "register": "models.registry",
    "sign": "bundle.signature",
    "verify": "bundle.signature",
    "write_sbom": "bundle.bill",
}
__all__ = ["__version__", "models", *_HOMES]


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used (PEP 562)."""
    if name == "models":
        return importlib.import_module("fsr_deploy.models")
    if name not in _HOMES:
        raise AttributeError(f"module 'fsr_deploy' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"fsr_deploy.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
