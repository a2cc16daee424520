"""A stand-in for the ``tensorrt`` module of one release, cut to what that release's real binding offers.

Networks are computed by ONNX Runtime on the CPU, in CUDA's order (tests.fakes.cuda). It is as strict as TensorRT where
that matters: what has to be set before a run, which addresses are valid, when a captured graph is stale, who may share
a profile. ``make`` leaves out every member that the recorded signatures of the release do not have, and
tests/contract/test_fakes.py compares the signatures of the rest.
"""

from __future__ import annotations

import importlib.machinery
import types
from typing import Any

from tests.contract.table import MODULES, RTX, recorded
from tests.fakes.cuda import Cuda
from tests.fakes.tensorrt import build, listeners, network, rtx, run
from tests.fakes.tensorrt.base import Enumeration
from tests.fakes.tensorrt.listeners import LISTENERS as LISTENERS


def make(release: str, cuda: Cuda) -> types.ModuleType:
    """Return the module of a release, one of MODULES, for one GPU; ``builds`` lists what was built.

    What a test puts into ``load_warnings`` is logged while a plan is loaded.
    """
    facts = recorded(release)
    name = MODULES[release]
    trt = types.ModuleType(name)
    trt.__spec__ = importlib.machinery.ModuleSpec(name, None)
    vars(trt).update(__version__=facts["version"], cuda=cuda, builds=[], load_warnings=[], configs=[], invalid=())
    enums = {name: Enumeration(name, cls["enum"]) for name, cls in facts["classes"].items() if "enum" in cls}
    vars(trt).update(enums)
    rooms = (listeners, network, build, run, *([rtx] if release == RTX else []))
    for room in rooms:
        for name, cls in vars(room).items():
            if isinstance(cls, type) and cls.__module__ == room.__name__ and name in facts["classes"]:
                setattr(trt, name, _of_release(cls, facts["classes"][name]["members"], trt))
    trt.ILogger.Severity = enums["Severity"]
    del trt.Severity  # type: ignore[attr-defined]  # it is only found within ILogger
    return trt


def _of_release(cls: type, members: dict[str, Any], trt: types.ModuleType) -> type:
    """Return a copy of a class without the members that its release does not have."""
    own = {
        name: value
        for name, value in vars(cls).items()
        if name in members or (name.startswith("_") and name not in ("__dict__", "__weakref__"))
    }
    return type(cls.__name__, cls.__bases__, {**own, "_trt": trt})
