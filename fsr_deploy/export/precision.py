"""Precision written into the network: reduced where it is harmless, FP32 where modules say that it is not.

A module class whose arithmetic needs FP32 carries ``fp32_reason``, one sentence; anyone may keep more modules by name.
Each kept module is bracketed by casts, so the graph that is exported has the precision of every node in it, and any
engine, strongly typed or not, computes the same thing.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fsr_deploy.errors import UsageError

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
ASKED = "kept on request"

PrecisionMap = dict[str, dict[str, str]]


def cast(network: nn.Module, precision: str, keep: Iterable[str] | Mapping[str, str] = ()) -> nn.Module:
    """Return a copy of the network that computes in ``precision`` ("fp32", "fp16", "bf16") and takes and gives FP32.

    ``keep`` names modules (dotted, as in ``named_modules``) that stay in FP32 beside those with an ``fp32_reason``; as
    a mapping it gives the reason of each. Raises UsageError for a precision or a module that does not exist.
    """
    if precision not in DTYPES:
        raise UsageError(f"no precision is called {precision!r}; there are {', '.join(DTYPES)}")
    full = copy.deepcopy(network)
    if precision == "fp32":
        return full
    dtype = DTYPES[precision]
    reduced = copy.deepcopy(network).to(dtype)
    for name in precision_map(network, precision, keep):
        module = full.get_submodule(name)
        _bracket(module, torch.float32, dtype)
        reduced.set_submodule(name, module)
    _bracket(reduced, dtype, torch.float32)
    return reduced


def precision_map(network: nn.Module, precision: str, keep: Iterable[str] | Mapping[str, str] = ()) -> PrecisionMap:
    """Return {module name: {"precision": "fp32", "reason": ...}} of what stays in FP32 in a cast to ``precision``.

    A kept module covers those inside it. Empty for "fp32". Raises UsageError where ``keep`` names no module.
    """
    reasons = dict(keep) if isinstance(keep, Mapping) else dict.fromkeys(keep, ASKED)
    modules = {name: module for name, module in network.named_modules() if name}
    if unknown := sorted(set(reasons) - set(modules)):
        raise UsageError(f"the network has no module called {', '.join(unknown)}")
    if precision == "fp32":
        return {}
    kept: PrecisionMap = {}
    for name, module in modules.items():
        reason = reasons.get(name) or getattr(module, "fp32_reason", None)
        if reason and not any(name.startswith(f"{parent}.") for parent in kept):
            kept[name] = {"precision": "fp32", "reason": reason}
    return kept


def _bracket(module: nn.Module, inside: torch.dtype, outside: torch.dtype) -> None:
    """Make a module cast what it is given to ``inside`` and what it returns to ``outside``."""
    module.register_forward_pre_hook(lambda _, inputs: _cast_all(inputs, inside))
    module.register_forward_hook(lambda _, inputs, outputs: _cast_all(outputs, outside))


def _cast_all(values: Any, dtype: torch.dtype) -> Any:
    if isinstance(values, Tensor):
        return values.to(dtype) if values.is_floating_point() else values
    if isinstance(values, tuple | list):
        return type(values)(_cast_all(value, dtype) for value in values)
    return values
