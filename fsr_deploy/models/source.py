"""From what a user names to a network with weights."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fsr_deploy._util.sizes import Shape, Size, as_shape, enlarged, written
from fsr_deploy.bundle.info import Template, sha256
from fsr_deploy.errors import UsageError
from fsr_deploy.models import own_code, registry
from fsr_deploy.models.checkpoints import Metadata, fitting, load_into, load_model, read_metadata
from fsr_deploy.models.foreign import Foreign, recognise
from fsr_deploy.models.value_range import adapted
from fsr_deploy.models.weight_files import may_be_checkpoint, read_tensors

SEED = 0
LR_SIZE = 16


@dataclass(frozen=True)
class Source:
    """A network in eval mode, and what is known of it; without a checkpoint its weights are untrained.

    It takes and gives float RGB in [-1, 1], whatever range it was trained on. ``options`` are those that
    ``registry.build`` made it with. ``lr_size`` is the side of its LR faces, or their (height, width), which it takes
    ``upsampling`` times as large. ``template`` is that of the faces that it was trained on, see BundleInfo, which are
    square; None where it is unknown. ``checkpoint_entry`` is where in the checkpoint its weights lay, "" for the file
    itself. What is not ``registered`` cannot be built again by its name.
    """

    network: nn.Module
    name: str
    scale: int
    upsampling: int
    lr_size: Size
    options: dict[str, Any] = field(default_factory=dict)
    checkpoint_sha256: str | None = None
    checkpoint_entry: str = ""
    registered: bool = True
    template: Template | None = None

    @property
    def lr_shape(self) -> Shape:
        """(height, width) of its LR faces in pixels."""
        return as_shape(self.lr_size)

    @property
    def sr_shape(self) -> Shape:
        """(height, width) of its SR faces in pixels."""
        return enlarged(self.lr_size, self.scale)

    @property
    def trained(self) -> bool:
        """Whether the weights come from a checkpoint."""
        return self.checkpoint_sha256 is not None


def load_source(
    model: str, checkpoint: Path | None = None, lr_size: Size | None = None, key: str | None = None
) -> Source:
    """Return the network of a registered name, with a checkpoint's weights or fresh ones that are always the same.

    ``model`` may be a checkpoint itself, whose metadata names its model, or ``FILE.py:NAME``, code that is run (see
    own_code.py). ``lr_size`` None stands for the size that the checkpoint's network was made for or trained at, or 16.
    ``key`` is the entry of the checkpoint to take, None the best that fits. Raises UsageError for an unknown name or
    entry or a size that the network is not made for, and InputError for a checkpoint that cannot be read or does not
    fit.
    """
    model = own_code.resolve(model)
    if model not in registry.names() and may_be_checkpoint(Path(model)):
        if checkpoint is not None:
            raise UsageError(
                f"{model} is a checkpoint already; name a model with --checkpoint {checkpoint}, or neither"
            )
        if read_metadata(Path(model)) is None and not fitting(tensors := read_tensors(Path(model))):
            return _foreign(recognise(tensors, Path(model), key), Path(model), lr_size)
        network, metadata = load_model(Path(model), key)
        size = registry.made_for(metadata.model, metadata.options)
        if size and lr_size not in (None, size):
            raise UsageError(
                f"{model}: made for LR faces of {size} pixels a side; leave --lr-size {written(lr_size or size)} out"
            )
        return _source(network, metadata, metadata.options, lr_size or size or metadata.lr_size, Path(model))
    registry.find(model)
    if key is not None and checkpoint is None:
        raise UsageError("--key names an entry of a checkpoint; give --checkpoint too")
    known = read_metadata(checkpoint) if checkpoint else None
    known = known if known and known.model == model else Metadata(model)
    options = known.options
    if lr_size and registry.made_for(model, options):
        if not isinstance(lr_size, int):
            raise UsageError(f"--lr-size {written(lr_size)}: {model} is built for square LR faces; give one number")
        options = {**options, "lr_size": lr_size}
    network = _build(model, options)
    entry = load_into(network, checkpoint, model, key) if checkpoint else ""
    size = registry.made_for(model, options) or known.lr_size
    return _source(network, known, options, lr_size or size, checkpoint, entry)


def _source(
    network: nn.Module,
    known: Metadata,
    options: dict[str, Any],
    lr_size: Size | None,
    checkpoint: Path | None,
    entry: str = "",
) -> Source:
    name, size = known.model, lr_size or LR_SIZE
    record = registry.find(name)
    if any(side % record.size_multiple for side in as_shape(size)):
        raise UsageError(f"--lr-size {written(size)}: {name} takes multiples of {record.size_multiple}")
    digest = sha256(checkpoint) if checkpoint else None
    network = adapted(network.eval(), record.range)
    height, width = as_shape(size)
    template = known.template if height == width else None
    return Source(network, name, record.scale, record.upsampling, size, options, digest, entry, template=template)


def _foreign(found: Foreign, checkpoint: Path, lr_size: Size | None) -> Source:
    return Source(
        found.network,
        found.name,
        found.scale,
        1,
        found.lr_size(lr_size),
        checkpoint_sha256=sha256(checkpoint),
        checkpoint_entry=found.place,
        registered=False,
    )


def _build(model: str, options: dict[str, Any]) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        return registry.build(model, **options)
