"""From an engine's kernels to the modules of the network.

An exported graph names each node "module.path/OpType_index". Engines keep those names when they fuse nodes: ONNX
Runtime adds to one of them, TensorRT joins several. A kernel belongs to the innermost module that holds all the nodes
it names; what an engine adds on its own (changes of memory layout) belongs to the module whose data it moves.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fsr_deploy._util.json_records import decode, read_json
from fsr_deploy.bundle.info import LAYERS_NAME, Bundle
from fsr_deploy.errors import InputError

SCHEMA_VERSION = 1
_NODE = re.compile(r"((?:\w+(?:\.\w+)*)?)/[A-Za-z]\w*_\d+")
_BEFORE_ITS_READER = "ReorderInput"
_BEFORE_A_NAME = "InsertedPrecisionFreeCast_"  # ONNX Runtime's mark of a kernel that computes FP16 in FP32


@dataclass(frozen=True)
class ModuleCost:
    """One module of the deployed network and what its own nodes cost, without those of the modules inside it.

    ``kind`` is the class (LGFI, SKAF, ...). ``macs`` are multiply-accumulates per face; ``face_bytes`` what the nodes
    read and write per face, ``weight_bytes`` what they read once per batch, each node on its own, nothing fused.
    """

    kind: str
    macs: int
    face_bytes: int
    weight_bytes: int


@dataclass(frozen=True)
class ModuleTable:
    """The contents of a bundle's ``layers.json``: module paths, "" for the outermost, and their costs."""

    modules: dict[str, ModuleCost]
    schema: int = SCHEMA_VERSION

    def owner(self, path: str) -> str:
        """Return the innermost known module that is or holds the module of this path; itself where none is known."""
        while self.modules and path and path not in self.modules:
            path = path.rpartition(".")[0]
        return path

    def kind(self, path: str) -> str:
        """Return the class of a module."""
        return self.modules[path].kind if path in self.modules else path

    def costs(self, paths: Iterable[str], batch: int) -> tuple[int, int]:
        """Return the floating-point operations and the bytes that these modules take together for one batch."""
        costs = [self.modules[path] for path in paths if path in self.modules]
        operations = sum(2 * cost.macs * batch for cost in costs)
        return operations, sum(cost.face_bytes * batch + cost.weight_bytes for cost in costs)


def read_table(bundle: Bundle) -> ModuleTable:
    """Read ``layers.json`` of a bundle; raises InputError where it is missing or damaged."""
    path = bundle.file(LAYERS_NAME)
    try:
        return decode(ModuleTable, read_json(path), "")
    except TypeError as error:
        raise InputError(f"{path}: incomplete or damaged: {error}; export the bundle again") from error


def module_of_kernel(kernel: str) -> str | None:
    """Return the path of the innermost module that holds all nodes a kernel's name mentions, None for none."""
    paths = [match.group(1).split(".") for match in _NODE.finditer(kernel.replace(_BEFORE_A_NAME, ""))]
    if not paths:
        return None
    shared = paths[0]
    for path in paths[1:]:
        differs = (i for i, (one, other) in enumerate(zip(shared, path, strict=False)) if one != other)
        shared = shared[: next(differs, min(len(shared), len(path)))]
    return ".".join(shared)


def owners(kernels: Sequence[str], table: ModuleTable) -> list[str]:
    """Return the module of each kernel of one run, given in the order in which they ran.

    A kernel without a node's name moves data for the kernel before it, ONNX Runtime's ReorderInput for the one after.
    """
    paths = [module_of_kernel(kernel) for kernel in kernels]
    found = [None if path is None else table.owner(path) for path in paths]
    for index in reversed(range(len(found) - 1)):
        if found[index] is None and kernels[index].startswith(_BEFORE_ITS_READER):
            found[index] = found[index + 1]
    last = next((module for module in found if module is not None), "")
    filled = []
    for module in found:
        last = last if module is None else module
        filled.append(last)
    return filled
