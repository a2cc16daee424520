"""Whether a module computes what its class says, which rewrites rely on.

A subclass, a hook, or weights that are computed from others in each run may make it something else.
"""

from __future__ import annotations

import copy

from torch import Tensor, nn
from torch.nn.utils import parametrize, remove_spectral_norm, remove_weight_norm
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

COMPUTING = ("forward", "_conv_forward")  # what a subclass may override to compute something else


def computes_as(module: nn.Module, kind: type[nn.Module]) -> bool:
    """Tell whether a module computes just what its class ``kind`` does, with the weights that it has."""
    same = all(getattr(type(module), name, None) is getattr(kind, name, None) for name in COMPUTING)
    return isinstance(module, kind) and same and not is_hooked(module) and not parametrize.is_parametrized(module)


def is_hooked(module: nn.Module) -> bool:
    """Tell whether something changes what a module takes or gives."""
    return bool(module._forward_hooks or module._forward_pre_hooks)


def copied(network: nn.Module) -> nn.Module:
    """Return a deep copy of a network, weights that are computed from others included, which copy.deepcopy refuses."""
    derived = [value for module in network.modules() for value in vars(module).values() if _is_derived(value)]
    return copy.deepcopy(network, {id(value): value.detach().clone() for value in derived})


def plain_weights(module: nn.Module) -> nn.Module | None:
    """Make weights that are computed from others in each run (weight and spectral norm, parametrisations) constant."""
    parametrised = parametrize.is_parametrized(module)
    if parametrised:
        _set_apart(module)
    hooks = [hook for hook in module._forward_pre_hooks.values() if isinstance(hook, WeightNorm | SpectralNorm)]
    for hook in hooks:
        (remove_weight_norm if isinstance(hook, WeightNorm) else remove_spectral_norm)(module, hook.name)
    return module if parametrised or hooks else None


def _set_apart(module: nn.Module) -> None:
    """Take off a module's parametrisations. PyTorch's own way alters the class, which a copy has from its original."""
    weights = {name: getattr(module, name) for name in module.get_submodule("parametrizations")._modules}
    del module._modules["parametrizations"]
    module.__class__ = parametrize.type_before_parametrizations(module)
    for name, weight in weights.items():
        module.register_parameter(name, nn.Parameter(weight.detach().clone()))


def _is_derived(value: object) -> bool:
    return isinstance(value, Tensor) and not value.is_leaf
