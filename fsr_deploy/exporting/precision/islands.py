"""What stays in FP32 in an engine of INT8 and FP16, told from its bundle alone, where a plan is built without torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fsr_deploy.exporting.precision.blocks import in_network, innermost


def fp32_modules(kept: Mapping[str, Mapping[str, str]], io: str) -> Callable[[str], bool]:
    """Return a test of a module, by its path in the graph, for whether it computes in FP32 and not in FP16.

    ``kept`` is a bundle's precision map, by names in the network: the innermost entry that is or holds a module counts.
    What stands around the network in the graph is in FP32.
    """

    def stays(path: str) -> bool:
        name = in_network(path, io)
        if name is None:
            return True
        entry = innermost(name, kept)
        return entry is not None and kept[entry]["precision"] == "fp32"

    return stays
