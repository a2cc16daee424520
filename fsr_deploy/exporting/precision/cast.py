"""Precision written into the network: reduced where it is harmless, FP32 where modules say that it is not.

A module class whose arithmetic needs FP32 carries ``fp32_reason``, one sentence; anyone may keep more modules by name.
Each kept module is bracketed by casts, so the graph that is exported has the precision of every node in it, and any
engine, strongly typed or not, computes the same thing. A block inside a kept module may still be reduced: the sums of a
residual trunk then stay in FP32, and their terms do not.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from fsr_deploy.errors import UsageError
from fsr_deploy.models.sameness import copied

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
ASKED = "kept on request"
# What TensorRT cannot build in a precision, by class: 11.0 to 11.2 and TensorRT for RTX 1.7 refuse it.
REFUSED = {"bf16": (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)}
REFUSED_REASON = "TensorRT builds no transposed convolution in BF16 (NVIDIA/TensorRT#4829)"

PrecisionMap = dict[str, dict[str, str]]


def cast(
    network: nn.Module,
    precision: str,
    keep: Iterable[str] | Mapping[str, str] = (),
    blocks: Collection[str] = (),
    target: str = "tensorrt",
) -> nn.Module:
    """Return a copy of the network that computes in ``precision`` ("fp32", "fp16", "bf16") and takes and gives FP32.

    ``keep`` names modules (dotted, as in ``named_modules``, "" for the network) that stay in FP32 beside those with an
    ``fp32_reason``; as a mapping it gives the reason of each. ``blocks`` and ``target`` are precision_map's. Raises
    UsageError for a precision or a module that does not exist.
    """
    if precision not in DTYPES:
        raise UsageError(f"no precision is called {precision!r}; there are {', '.join(DTYPES)}")
    kept = precision_map(network, precision, keep, blocks, target)
    network = copied(network)
    if precision == "fp32":
        return network

    def types(name: str) -> tuple[torch.dtype, torch.dtype]:
        """Return what a module computes in, and what is around it."""
        outside = DTYPES[_precision_at(_outer(name), kept, precision)] if name else torch.float32
        return DTYPES[_precision_at(name, kept, precision)], outside

    _part(network, types)
    for name, module in network.named_modules():
        inside, outside = types(name)
        _convert(module, inside)
        if inside != outside:
            _bracket(module, inside, outside)
        elif inside != torch.float32 and _has_weights(module):
            module.register_forward_pre_hook(_taking(inside), with_kwargs=True)
    return network


def precision_map(
    network: nn.Module,
    precision: str,
    keep: Iterable[str] | Mapping[str, str] = (),
    blocks: Collection[str] = (),
    target: str = "tensorrt",
) -> PrecisionMap:
    """Return {module name: {"precision": ..., "reason": ...}} of what stays in FP32 in a cast to ``precision``.

    A kept module covers those inside it, but for ``blocks``, modules that are decided on one by one: a block inside a
    kept module is listed with the reduced precision where it is not kept itself. What the target, one of
    bundle.TARGETS, cannot build in the precision is kept too. Empty for "fp32". Raises UsageError where ``keep`` names
    no module.
    """
    reasons = dict(keep) if isinstance(keep, Mapping) else dict.fromkeys(keep, ASKED)
    modules = dict(network.named_modules(remove_duplicate=False))
    if unknown := sorted(set(reasons) - set(modules)):
        raise UsageError(f"the network has no module called {', '.join(unknown)}")
    if precision == "fp32":
        return {}
    found: PrecisionMap = {}
    for name, module in modules.items():
        around = _precision_at(name, found, precision)
        reason = reasons.get(name) or getattr(module, "fp32_reason", None) or _refused(module, precision, target)
        if reason and (around != "fp32" or name in blocks):
            found[name] = {"precision": "fp32", "reason": reason}
        elif not reason and name in blocks and around == "fp32":
            found[name] = {"precision": precision, "reason": f"harmless in {precision}, unlike what is around it"}
    return found


def _refused(module: nn.Module, precision: str, target: str) -> str | None:
    """Return why a module cannot be built in a precision at all, None where it can."""
    refused = target != "openvino" and isinstance(module, REFUSED.get(precision, ()))
    return REFUSED_REASON if refused else None


def _precision_at(name: str, found: PrecisionMap, precision: str) -> str:
    """Return the precision of a module: that of the innermost listed one that is or holds it."""
    while name and name not in found:
        name = _outer(name)
    return found[name]["precision"] if name in found else precision


def _outer(name: str) -> str:
    return name.rpartition(".")[0]


def _part(network: nn.Module, types: Callable[[str], tuple[torch.dtype, torch.dtype]]) -> None:
    """Give modules that stand in several places a copy for each, where one of them computes in several precisions."""
    places = list(network.named_modules(remove_duplicate=False))
    first = {module: name for name, module in reversed(places)}
    if all(types(first[module]) == types(name) for name, module in places):
        return
    for name, module in places:
        if first[module] != name and network.get_submodule(name) is module:  # otherwise it is inside one parted before
            network.set_submodule(name, copied(module))


def _convert(module: nn.Module, dtype: torch.dtype) -> None:
    """Hold a module's own weights and buffers in ``dtype``; those that it shares with another one stay as they are."""
    for name, weight in module._parameters.items():
        if weight is not None and weight.is_floating_point():
            module._parameters[name] = nn.Parameter(weight.detach().to(dtype), weight.requires_grad)
    for name, buffer in module._buffers.items():
        if buffer is not None and buffer.is_floating_point():
            module._buffers[name] = buffer.to(dtype)


def _has_weights(module: nn.Module) -> bool:
    own = (*module._parameters.values(), *module._buffers.values())
    return any(value is not None and value.is_floating_point() for value in own)


def _taking(dtype: torch.dtype) -> Callable[..., tuple[Any, Any]]:
    """Return a hook that casts what a module is given, which code around it may have made in FP32: a mask, a grid."""

    def enter(_: nn.Module, inputs: Any, keywords: Any) -> tuple[Any, Any]:
        return _cast_all(inputs, dtype), _cast_all(keywords, dtype)

    return enter


def _bracket(module: nn.Module, inside: torch.dtype, outside: torch.dtype) -> None:
    """Make a module cast what it is given to ``inside`` and what it returns to ``outside``."""
    module.register_forward_pre_hook(_taking(inside), with_kwargs=True)
    module.register_forward_hook(lambda _, inputs, outputs: _cast_all(outputs, outside))


def _cast_all(values: Any, dtype: torch.dtype) -> Any:
    """Return values with each float tensor in them, however deep, cast to ``dtype``."""
    return tree_map_only(Tensor, lambda value: value.to(dtype) if value.is_floating_point() else value, values)
