"""Weights in files: read whatever a training framework wrote, refuse what could run code or does not fit, save safely.

Read: safetensors, and PyTorch's ``.pth``, ``.pt`` and ``.ckpt`` with ``weights_only``, so that a pickle cannot run
code. Written: safetensors whose metadata names the model, so that a checkpoint says by itself what it is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from fsr_deploy.errors import FsrError, InputError
from fsr_deploy.files import write_file
from fsr_deploy.models import registry
from fsr_deploy.models.sparnet_keys import sparnet_key
from fsr_deploy.schema import decode

PICKLED = (".pth", ".pt", ".ckpt")
# What training frameworks wrap a state dict in; an average of the weights is taken where there is one.
WRAPPERS = ("params_ema", "params", "state_dict", "model_state_dict", "model", "generator", "net_g", "weights")
# What DataParallel and torch.compile put before every name.
PREFIXES = ("module.", "_orig_mod.")
_KEY = "fsr_deploy"
_SHOWN = 3


@dataclass(frozen=True)
class Metadata:
    """What a checkpoint says of itself: the registered model, its options, and how it was trained."""

    model: str
    options: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)

    @property
    def lr_size(self) -> int | None:
        """The side of the LR faces that the network was trained on, None where the checkpoint does not tell."""
        found = self.training.get("lr_size")
        return found if type(found) is int and found > 0 else None


def load_weights(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint by name, on the CPU, out of wrappers and without ``module.`` prefixes.

    Raises InputError for a file that is missing, empty, cut off or no checkpoint, for a pickle that holds more than
    plain data, and for weights that are not finite.
    """
    _refuse_unreadable(path)
    loaded = _load_safetensors(path) if path.suffix == ".safetensors" else _load_pickle(path)
    weights = _without_prefixes(_unwrap(loaded, path))
    for name, tensor in weights.items():
        if not torch.isfinite(tensor.float()).all():
            raise InputError(f"{path}: {name} holds NaN or infinity; take a checkpoint from before the training broke")
    return weights


def load_into(module: nn.Module, path: Path, name: str) -> None:
    """Load a checkpoint into ``module``, which is the registered model ``name``.

    The public SPARNet's names are understood too. Raises InputError for what load_weights refuses, and where names or
    shapes differ: it names the first of them and the registered models that the weights do fit.
    """
    wanted = _shapes(module.state_dict())
    weights = _named_as(wanted, load_weights(path))
    if differences := _differences(wanted, _shapes(weights)):
        raise InputError(f"{path}: not weights of {name}: {differences}; they fit {_listed(fitting(weights))}")
    module.load_state_dict(weights)


def load_model(path: Path) -> tuple[nn.Module, Metadata]:
    """Build the model that a checkpoint's metadata names and load the checkpoint into it.

    Raises InputError for what load_into refuses, and for a checkpoint that does not name a model that can be built.
    """
    metadata = read_metadata(path)
    if metadata is None:
        fits = fitting(load_weights(path))
        raise InputError(f"{path}: does not say which model it holds; name the model too (it fits {_listed(fits)})")
    try:
        module = registry.build(metadata.model, **metadata.options)
    except (FsrError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{path}: names a model that cannot be built here: {error}") from error
    load_into(module, path, metadata.model)
    return module, metadata


def read_metadata(path: Path) -> Metadata | None:
    """Return what a checkpoint says of itself, None where it says nothing; raises InputError where it is damaged."""
    _refuse_unreadable(path)
    if path.suffix != ".safetensors":
        return None
    try:
        with safe_open(path, "pt") as file:
            text = (file.metadata() or {}).get(_KEY)
        return None if text is None else decode(Metadata, json.loads(text), "")
    except SafetensorError as error:
        raise InputError(f"{path}: cut off or not a safetensors file ({error})") from error
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: its metadata is damaged: {error}") from error


def save_safetensors(weights: Mapping[str, Tensor], path: Path, metadata: Metadata) -> None:
    """Write a state dict and its metadata as safetensors; ``path`` holds the old file or the whole new one."""
    # Copies, because safetensors refuses tensors that share memory.
    tensors = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in weights.items()
    }
    write_file(path, save(tensors, {_KEY: json.dumps(asdict(metadata)), "format": "pt"}))


def fitting(weights: Mapping[str, Tensor]) -> list[str]:
    """Return the names of the registered models, as registered, that have just these names and shapes."""
    with torch.device("meta"):
        models = {name: _shapes(registry.build(name).state_dict()) for name in registry.names()}
    return [name for name, wanted in models.items() if _shapes(_named_as(wanted, weights)) == wanted]


def _refuse_unreadable(path: Path) -> None:
    if path.suffix not in (".safetensors", *PICKLED):
        raise InputError(f"{path}: not a checkpoint; expected .safetensors, {', '.join(PICKLED)}")
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        with path.open("rb") as stream:
            empty = not stream.read(1)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    if empty:
        raise InputError(f"{path}: the file is empty")


def _load_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise InputError(f"{path}: cut off or not a safetensors file ({error})") from error


def _load_pickle(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle raises anything
        if found := re.search(r"GLOBAL (\S+)", str(error)):
            raise InputError(
                f"{path}: refused: it holds more than weights ({found[1]}), and loading that could run code; "
                "save the state dict alone, best as safetensors"
            ) from error
        raise InputError(f"{path}: cut off or not a PyTorch checkpoint") from error


def _unwrap(loaded: Any, path: Path) -> dict[str, Tensor]:
    """Go down through wrappers to the dictionary whose values are all tensors."""
    while isinstance(loaded, Mapping):
        if loaded and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in loaded.items()):
            return dict(loaded)
        wrapper = next((key for key in WRAPPERS if isinstance(loaded.get(key), Mapping)), None)
        if wrapper is None:
            raise InputError(f"{path}: no weights in it, only {_some(map(str, loaded)) or 'an empty dictionary'}")
        loaded = loaded[wrapper]
    raise InputError(f"{path}: no weights in it, only a {type(loaded).__name__}")


def _without_prefixes(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    while prefix := next((p for p in PREFIXES if all(name.startswith(p) for name in weights)), None):
        weights = {name.removeprefix(prefix): tensor for name, tensor in weights.items()}
    return weights


def _named_as(wanted: Iterable[str], weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Return the weights under the names that are wanted, where theirs are the public SPARNet's."""
    renamed = {sparnet_key(name): tensor for name, tensor in weights.items()}
    return renamed if set(renamed) == set(wanted) else weights


def _shapes(weights: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in weights.items()}


def _differences(wanted: dict[str, tuple[int, ...]], found: dict[str, tuple[int, ...]]) -> str:
    """Describe how two sets of names and shapes differ; empty where they do not."""
    parts = {
        "missing": [name for name in wanted if name not in found],
        "unexpected": [name for name in found if name not in wanted],
        "of another shape": [
            f"{name} {found[name]} instead of {shape}"
            for name, shape in wanted.items()
            if found.get(name, shape) != shape
        ],
    }
    return "; ".join(f"{len(names)} {what} ({_some(names)})" for what, names in parts.items() if names)


def _some(names: Iterable[str]) -> str:
    """Return the first few names, with dots where there are more."""
    names = list(names)
    return ", ".join(names[:_SHOWN] + ["..."] * (len(names) > _SHOWN))


def _listed(models: list[str]) -> str:
    return ", ".join(models) or "no registered model"
