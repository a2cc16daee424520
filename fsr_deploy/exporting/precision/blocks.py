"""The blocks of a network: the modules of its paper, whose precision is decided one by one.

A block is a module with several layers of its own, and only one of its kind in the block that holds it: LGFI and in it
SA, RDFE, FRM and SKAF; but not each of the seven convolution blocks of an hourglass. Modules that are in no block
except the network (head, tail, down, up) are blocks too, and so are the operations of the network between its blocks.
Blocks are nested; an operation belongs to the innermost one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


from collections.abc import Callable, Mapping, Sequence

from fsr_deploy.bundle.layers import ModuleTable


def find_blocks(network: nn.Module, rewritten: nn.Module, fallbacks: Collection[str]) -> dict[str, str]:
    """Return the class of each block by its name in the network, "" for the network itself, the outermost first.

    ``rewritten`` is the deployed form of the network, ``fallbacks`` are its modules that always stay in FP32.
    """
    modules = {
        name: module
        for name, module in network.named_modules()
        if not any(holds(fallback, name) for fallback in fallbacks)
    }
    kinds = {name: type(module).__name__ for name, module in modules.items()}
    layers = [name for name, module in modules.items() if name and _is_layer(module)]
    known = [name for name, module in modules.items() if not name or _is_known(name, module, layers)]
    siblings = Counter((innermost(_outer(name), known), kinds[name]) for name in known if name)
    blocks = [""]
    for name in filter(None, known):
        outer = innermost(_outer(name), known)
        if outer == "" or (outer in blocks and siblings[outer, kinds[name]] == 1):
            blocks.append(name)
    blocks += [name for name in layers if innermost(name, blocks) == ""]
    there = {name for name, _ in rewritten.named_modules()}
    return {name: kinds[name] for name in blocks if name in there}


def innermost(path: str, blocks: Collection[str]) -> str | None:
    """Return the innermost block that is or holds the module of a path, None for none."""
    while path and path not in blocks:
        path = _outer(path)
    return path if path in blocks else None


def in_network(path: str, io: str) -> str | None:
    """Return a module's name in the network from its path in the deployable module, None outside the network."""
    if io == "float":
        return path
    return path.removeprefix("network").removeprefix(".") if holds("network", path) else None


def holds(module: str, path: str) -> bool:
    """Tell whether a module is or holds the module of a path; "" holds all."""
    return not module or path == module or path.startswith(f"{module}.")


def _is_layer(module: nn.Module) -> bool:
    return not any(True for _ in module.children()) and any(True for _ in module.parameters(recurse=False))


def _is_known(name: str, module: nn.Module, layers: Collection[str]) -> bool:
    """Tell whether a module is not one of PyTorch's and holds several layers."""
    return not type(module).__module__.startswith("torch.") and sum(holds(name, layer) for layer in layers) > 1


def _outer(path: str) -> str:
    return path.rpartition(".")[0]


def group(paths: Sequence[str], table: ModuleTable) -> dict[str, list[str]]:
    """Return which of these module paths belong to each block: the innermost known module that holds several of them.

    A single convolution block does not count: it is part of the hourglass that holds it.
    """
    groups: dict[str, list[str]] = {}
    for path in paths:
        block = table.owner(path)
        while block and sum(holds(block, other) for other in paths) < 2:
            block = table.owner(block.rpartition(".")[0])
        groups.setdefault(block, []).append(path)
    return groups


def fp32_modules(kept: Mapping[str, Mapping[str, str]], io: str) -> Callable[[str], bool]:
    """Return a test of a module, by its path in the graph, for whether it computes in FP32 and not in FP16.

    ``kept`` is a bundle's precision map, by names in the network: the innermost entry that is or holds a module counts.
    The operations around the network in the graph are in FP32.
    """

    def stays(path: str) -> bool:
        name = in_network(path, io)
        if name is None:
            return True
        entry = innermost(name, kept)
        return entry is not None and kept[entry]["precision"] == "fp32"

    return stays
