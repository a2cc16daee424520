"""The two TensorRTs: the one of servers and Jetsons, and TensorRT for RTX, for the cards of workstations and laptops.

They share their Python API and little else: a plan of the one is nothing to the other, and TensorRT for RTX counts its
versions anew. All that differs is told here, and asked for by name everywhere else.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType

from fsr_deploy.bundle.info import FLAVOUR_TITLES


@dataclass(frozen=True)
class Flavour:
    """One of the two.

    ``key`` is its name in ``bundle.json`` and ``--target``, ``module`` the Python module, ``oldest`` the first version
    (major, minor) that is supported. A plan begins with ``magic``, since version ``header_since``. From the major
    version ``typed_since`` on, each tensor is computed in the type that the graph gives it. ``builds_anywhere`` tells
    that a plan is compiled for the GPUs that are named, on any machine, instead of being measured on the GPU itself;
    there are no timings to keep then.
    """

    key: str
    title: str
    module: str
    oldest: tuple[int, int]
    magic: bytes
    header_since: tuple[int, ...]
    typed_since: int
    builds_anywhere: bool


TENSORRT = Flavour("tensorrt", FLAVOUR_TITLES["tensorrt"], "tensorrt", (8, 6), b"ftrt", (9,), 10, builds_anywhere=False)
# INT8 convolutions are compiled since 1.7.
RTX = Flavour("rtx", FLAVOUR_TITLES["rtx"], "tensorrt_rtx", (1, 7), b"vtrt", (1,), 1, builds_anywhere=True)
FLAVOURS = {flavour.key: flavour for flavour in (TENSORRT, RTX)}


def flavour_of_plan(content: bytes) -> Flavour:
    """Return the flavour that a plan was built with, by its first bytes; plans of TensorRT 8 are known by none."""
    return RTX if content.startswith(RTX.magic) else TENSORRT


def flavour_of(trt: ModuleType) -> Flavour:
    """Return the flavour of a library that was loaded."""
    return RTX if trt.__name__ == RTX.module else TENSORRT


def named(trt: ModuleType) -> str:
    """Return what messages call a library that was loaded: "TensorRT 11.4.0.106"."""
    return f"{flavour_of(trt).title} {trt.__version__}"
