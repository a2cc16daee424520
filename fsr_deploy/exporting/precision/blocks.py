"""The blocks of a network: the modules of its paper, whose precision is decided one by one.

A block is a module with several layers of its own, and only one of its kind in the block that holds it: LGFI and in it
SA, RDFE, FRM and SKAF; but not each of the seven convolution blocks of an hourglass. What lies in no block but the
network itself (head, tail, down, up) is a block of its own, and so is what the network does between its blocks. Blocks
lie in one another; an operation belongs to the innermost one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


def find_blocks(network: nn.Module, rewritten: nn.Module, islands: Collection[str]) -> dict[str, str]:
    """Return the class of each block by its name in the network, "" for the network itself, the outermost first.

    ``rewritten`` is the form of the network that is deployed, ``islands`` are modules of it that stay in FP32 anyway.
    """
    modules = {
        name: module for name, module in network.named_modules() if not any(holds(island, name) for island in islands)
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
    """Tell whether a module is none of PyTorch's own and holds several layers."""
    return not type(module).__module__.startswith("torch.") and sum(holds(name, layer) for layer in layers) > 1


def _outer(path: str) -> str:
    return path.rpartition(".")[0]
