"""The section of report.html on what TensorRT's compiler made of the graph, block by block."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from fsr_deploy._util.html_page import Cell, section, table
from fsr_deploy.bundle.info import BundleInfo

DEPTH = 2  # parts of a module's path that make its block: "encoders.0"
COUNTS = ("nodes", "kernels", "fused", "convolutions", "int8", "fp8")
ITS_OWN = "(the compiler's own)"


def kernels_section(info: BundleInfo) -> str:
    """Return the section, "" where the compiler was not asked."""
    found = info.kernels
    if not found:
        return ""
    lead = (
        f"TensorRT for RTX compiles this graph to {found['count']} kernels; at the largest batch it needs "
        f"{_mib(found['activation_bytes'])} for activations and {_mib(found['weight_bytes'])} for weights. The table "
        "shows what fuses and in which types. It is known without a GPU and says nothing about speed; TensorRT for "
        "servers has other kernels."
    )
    counted = ("ONNX nodes", "Kernels", "of several nodes", "Convolutions", "in INT8", "in FP8")
    headers = ("Block", *counted, "Nodes in FP32", "Q/DQ in kernels of their own")
    return section("What TensorRT compiles it to", lead, table(headers, [*map(_row, blocks(info))]))


def blocks(info: BundleInfo) -> list[dict[str, Any]]:
    """Return the kernels of the modules added up by block, in the compiler's order."""
    groups: dict[str, dict[str, Any]] = {}
    for module in info.kernels.get("modules", []):
        name = block_of(module["module"])
        group = groups.setdefault(name, {"block": name, **dict.fromkeys(COUNTS, 0), "fp32": [], "unfused": []})
        for count in COUNTS:
            group[count] += module[count]
        for kind in ("fp32", "unfused"):
            group[kind] += module[kind]
    return list(groups.values())


def lines(info: BundleInfo) -> Iterable[str]:
    """Return what a person should know of the kernels, a line each."""
    found = info.kernels
    total = {count: sum(block[count] for block in blocks(info)) for count in COUNTS}
    yield (
        f"{total['nodes']} nodes in {found['count']} kernels, {total['fused']} of them fused; "
        f"{_mib(found['activation_bytes'])} for activations at the largest batch"
    )
    fp32 = [block["block"] or ITS_OWN for block in blocks(info) if block["fp32"]]
    if fp32 and info.precision != "fp32":
        yield f"FP32 results inside: {_some(fp32)}"
    for bits in ("int8", "fp8"):
        if bits in info.precision:
            yield f"{total[bits]} of {total['convolutions']} convolutions in {bits.upper()}"
    if unfused := [block["block"] or ITS_OWN for block in blocks(info) if block["unfused"]]:
        yield f"quantised or dequantised in kernels of their own: {_some(unfused)}"


def block_of(module: str) -> str:
    """Return the block of a module: the first parts of its path below the network itself."""
    return ".".join(module.removeprefix("network.").split(".")[:DEPTH]) if module else ""


def _row(block: Mapping[str, Any]) -> tuple[Cell, ...]:
    fp32, unfused = (str(len(block[kind])) if block[kind] else "" for kind in ("fp32", "unfused"))
    return (block["block"] or ITS_OWN, *(str(block[count]) if block[count] else "" for count in COUNTS), fp32, unfused)


def _some(names: list[str], shown: int = 8) -> str:
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


def _mib(nbytes: int) -> str:
    return f"{nbytes / 2**20:.0f} MiB"
