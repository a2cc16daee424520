"""From what a user names to a network with weights."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fsr_deploy.bundle import sha256
from fsr_deploy.errors import UsageError
from fsr_deploy.models import registry
from fsr_deploy.models.checkpoints import PICKLED, load_into, load_model, read_metadata

SEED = 0


@dataclass(frozen=True)
class Source:
    """A network in eval mode, and what is known of it; without a checkpoint its weights are untrained."""

    network: nn.Module
    name: str
    scale: int
    options: dict[str, Any] = field(default_factory=dict)
    checkpoint_sha256: str | None = None

    @property
    def trained(self) -> bool:
        """Whether the weights come from a checkpoint."""
        return self.checkpoint_sha256 is not None


def load_source(model: str, checkpoint: Path | None = None) -> Source:
    """Return the network of a registered name, with a checkpoint's weights or fresh ones that are always the same.

    ``model`` may be a checkpoint itself, whose metadata names its model. Raises UsageError for an unknown name and
    InputError for a checkpoint that cannot be read or does not fit.
    """
    if model not in registry.names() and Path(model).suffix in (".safetensors", *PICKLED):
        if checkpoint is not None:
            raise UsageError(
                f"{model} is a checkpoint already; name a model with --checkpoint {checkpoint}, or neither"
            )
        network, metadata = load_model(Path(model))
        return _source(network, metadata.model, metadata.options, Path(model))
    registry.find(model)
    if checkpoint is None:
        return _source(_untrained(model), model, {}, None)
    known = read_metadata(checkpoint)
    options = known.options if known and known.model == model else {}
    network = registry.build(model, **options)
    load_into(network, checkpoint, model)
    return _source(network, model, options, checkpoint)


def _source(network: nn.Module, name: str, options: dict[str, Any], checkpoint: Path | None) -> Source:
    digest = sha256(checkpoint) if checkpoint else None
    return Source(network.eval(), name, registry.find(name).scale, options, digest)


def _untrained(model: str) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        return registry.build(model)
