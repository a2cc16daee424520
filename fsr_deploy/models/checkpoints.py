"""Weights in files: read whatever a training framework wrote, refuse what could run code or does not fit, save safely.

Written: safetensors whose metadata names the model, so that a checkpoint says by itself what it is. Read: what
weight_files.py can read, a public CTCNet's as ctcnet_keys.py renames it, and of that what weight_search.py finds to be
the network's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from fsr_deploy._util.files import write_file
from fsr_deploy._util.json_records import decode, json_text
from fsr_deploy._util.log import say
from fsr_deploy.bundle.info import Template, is_template
from fsr_deploy.errors import FsrError, InputError
from fsr_deploy.models import registry
from fsr_deploy.models.ctcnet_keys import ctcnet_names
from fsr_deploy.models.weight_files import is_safetensors, read_tensors
from fsr_deploy.models.weight_search import Found, Place, Wanted, below, places_of, refuse_broken, search

_KEY = "fsr_deploy"


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

    @property
    def template(self) -> Template | None:
        """Where the landmarks of a face lie in those that the network was trained on, see BundleInfo; None where the
        checkpoint does not tell.
        """
        try:
            found: Template = decode(Template, self.training.get("template"), "")
        except TypeError:
            return None
        return found if is_template(found) else None


class MisfitError(InputError):
    """Weights that are not the network's; ``tensors`` are what there is in the file."""

    def __init__(self, message: str, tensors: Mapping[str, Tensor]) -> None:
        super().__init__(message)
        self.tensors = tensors


def load_weights(wanted: Wanted, path: Path, key: str | None = None, notice: Callable[[str], None] = say) -> Found:
    """Return the weights of a network in a checkpoint, on the CPU, under the network's own names.

    Where the file has several, an average is taken, or what ``key`` names, and ``notice`` is told. Raises InputError
    for a file that is missing, damaged or no checkpoint, for a pickle that holds more than plain data, and for weights
    that do not fit (MisfitError), that cannot be told from others, or that are not finite; UsageError for an unknown
    key.
    """
    tensors: Mapping[str, Tensor] = ctcnet_names(read_tensors(path))
    try:
        tensors = tensors if key is None else below(tensors, key, wanted)
        if found := search(tensors, wanted):
            refuse_broken(found, wanted.parameters)
    except FsrError as error:
        raise type(error)(f"{path}: {error}") from error
    if found is None:
        raise MisfitError(f"{path}: not weights of {wanted.name}: {_misfit(tensors, wanted)}", tensors)
    if found.others:
        notice(f"{path}: {found}")
    return found


def load_into(
    module: nn.Module, path: Path, name: str, key: str | None = None, notice: Callable[[str], None] = say
) -> str:
    """Load a checkpoint into ``module``, which is the registered model ``name``, and return the entry it came from.

    Raises what load_weights raises; where weights do not fit, it names the registered models that they do fit.
    """
    try:
        found = load_weights(Wanted.by(module, name), path, key, notice)
    except MisfitError as error:
        raise InputError(f"{error}; they fit {_listed(fitting(error.tensors))}") from error
    module.load_state_dict({**module.state_dict(), **found.weights})
    return found.place


def load_model(path: Path, key: str | None = None, notice: Callable[[str], None] = say) -> tuple[nn.Module, Metadata]:
    """Build the model that a checkpoint's metadata names and load the checkpoint into it.

    Raises InputError for what load_into refuses, and for a checkpoint that does not name a model that can be built.
    """
    metadata = read_metadata(path)
    if metadata is None:
        fits = fitting(read_tensors(path))
        raise InputError(f"{path}: does not say which model it holds; name the model too (it fits {_listed(fits)})")
    try:
        module = registry.build(metadata.model, **metadata.options)
    except (FsrError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{path}: names a model that cannot be built here: {error}") from error
    load_into(module, path, metadata.model, key, notice)
    return module, metadata


def read_metadata(path: Path) -> Metadata | None:
    """Return what a checkpoint says of itself, None where it says nothing; raises InputError where it is damaged."""
    if not is_safetensors(path):
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
    write_file(path, save(tensors, {_KEY: json_text(asdict(metadata)), "format": "pt"}))


def fitting(tensors: Mapping[str, Tensor]) -> list[str]:
    """Return the names of the registered models whose weights, as registered, are somewhere in a checkpoint."""
    tensors = ctcnet_names(tensors)
    models = [_wanted(name, registry.find(name).build) for name in registry.names()]
    return [
        wanted.name for wanted in models if any(not place.differences(wanted) for place in places_of(tensors, wanted))
    ]


@cache
def _wanted(name: str, build: Callable[..., nn.Module]) -> Wanted:
    """Return what a registered model wants, built once without memory; another ``build`` is another model."""
    with torch.device("meta"):
        return Wanted.by(build(**registry.find(name).options), name)


def _misfit(tensors: Mapping[str, Tensor], wanted: Wanted) -> str:
    """Say how what comes nearest to a network differs from it."""
    places = places_of(tensors, wanted)
    nearest = places[0] if places else Place("", {}, list(tensors))
    return nearest.differences(wanted) + (f" in {nearest.name}" if nearest.name else "")


def _listed(models: list[str]) -> str:
    return ", ".join(models) or "no registered model"
