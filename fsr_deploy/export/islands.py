"""What stays in FP32 in an engine of INT8 and FP16, told from its bundle alone, where a plan is built without torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping

NETWORK = "network"  # where the network is in a graph with faces in and out


def fp32_modules(kept: Mapping[str, Mapping[str, str]], io: str) -> Callable[[str], bool]:
    """Return a test of a module, by its path in the graph, for whether it computes in FP32 and not in FP16.

    ``kept`` is a bundle's precision map, by names in the network: the innermost entry that is or holds a module counts.
    With ``io`` "uint8" the network is a module of the graph, and what stands around it is in FP32.
    """

    def stays(path: str) -> bool:
        if io == "uint8":
            if path != NETWORK and not path.startswith(f"{NETWORK}."):
                return True
            path = path.removeprefix(NETWORK).removeprefix(".")
        while path and path not in kept:
            path = path.rpartition(".")[0]
        return path in kept and kept[path]["precision"] == "fp32"

    return stays
