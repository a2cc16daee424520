"""Checkpoints of other people's networks, recognised by spandrel: SwinIR, RCAN, GFPGAN and some forty others.

spandrel (https://github.com/chaiNNer-org/spandrel, MIT) tells an architecture by the names and shapes of its weights.
What it reads is what weight_files.py has read: it is never given the file, whose loading could run code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fsr_deploy._util import imports
from fsr_deploy._util.log import say, warn
from fsr_deploy._util.sizes import Size, as_shape, written
from fsr_deploy.errors import InputError, MissingError, UsageError
from fsr_deploy.models.categories import in_order
from fsr_deploy.models.weight_files import some
from fsr_deploy.models.weight_search import (
    AVERAGE,
    TRAINED,
    Found,
    is_average,
    only_one,
    preferred,
    refuse_broken,
    refuse_stray_average,
    words,
)

# Words in the names under which trainers keep a network's weights; averages and what they are made of have more.
WRAPPERS = {"params", "state", "dict", "model", "generator", "gen", "g", "net", "network", "weights", "module", "best"}
# Architectures that are run otherwise than by spandrel: the same for the same face in every run, and traceable.
CALLS: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "GFPGAN": lambda network, x: network(x, randomize_noise=False)[0],  # the noise that the checkpoint holds
    "RestoreFormer": lambda network, x: network(x * 2 - 1)[0] * 0.5 + 0.5,
    # spandrel tells one face alone how much noise there is, and cuts pictures into patches with a loop over them.
    "DRUNet": lambda network, x: network(_with_noise(x)),
    "DnCNN": lambda network, x: network(_with_noise(x) if network.mode == "FDnCNN" else x),
    "IPT": lambda network, x: _of_a_patch(network, x),
}
NOISE = 15 / 255  # standard deviation of the noise that DRUNet and FDnCNN are told, as spandrel tells them
LR_SIZE, FACE_SIZE = 64, 512  # of networks that take any; what face restorers are made for
RGB = 3
NEAR = 0.6  # share of an architecture's names from which a checkpoint is like it


@dataclass(frozen=True)
class Foreign:
    """A network that was recognised, in eval mode: it takes and gives (N, 3, h, w) float RGB in [-1, 1].

    ``name`` is its architecture's, ``place`` where in the file its weights lay, "" for the file itself. It enlarges
    ``scale`` times and takes pictures whose sides are multiples of ``size_multiple`` and at least ``minimum``, and
    ``usual`` unless asked otherwise.
    """

    network: nn.Module
    name: str
    place: str
    scale: int
    size_multiple: int
    minimum: int
    usual: int

    def lr_size(self, asked: Size | None) -> Size:
        """Return the size of the pictures it is exported for; raises UsageError for one that it does not take."""
        step = self.size_multiple
        size = asked or max(self.minimum, -(-self.usual // step) * step)
        if any(side < self.minimum or side % step for side in as_shape(size)):
            least = f" of at least {self.minimum}" if self.minimum > step else ""
            raise UsageError(f"--lr-size {written(size)}: {self.name} takes multiples of {step}{least}")
        return size


class UnitRange(nn.Module):
    """A network of spandrel's, for pictures in [0, 1], as one for [-1, 1].

    ``call`` is how spandrel runs it. A network for grey pictures gets the three colours one by one.
    """

    def __init__(self, network: nn.Module, call: Callable[[nn.Module, Tensor], Tensor], *, grey: bool) -> None:
        super().__init__()
        self.network = network
        self._call, self._grey = call, grey

    def forward(self, x: Tensor) -> Tensor:
        """Return what the network makes of (N, 3, h, w) RGB."""
        x = (x * 0.5 + 0.5).contiguous()  # channels first, which a view in the network may rely on
        y = self._call(self.network, x.flatten(0, 1).unsqueeze(1) if self._grey else x)
        y = y.squeeze(1).unflatten(0, (-1, RGB)) if self._grey else y
        return y * 2 - 1


def recognise(tensors: Mapping[str, Tensor], path: Path, key: str | None = None) -> Foreign:
    """Return the network that the tensors of a checkpoint are the weights of.

    ``key`` is the entry to take; without it averages are taken before the weights that they are made of. Raises
    MissingError without spandrel, and InputError where it knows no network with such weights, or none that makes a
    picture of a picture.
    """
    registry = _registry()
    architectures = [support.architecture for support in registry.architectures("detection")]
    entries = _entries(tensors, key)
    known: dict[str, Any] = {}
    if key is not None:  # what lies elsewhere is not asked for
        tensors = {name: tensor for name, tensor in tensors.items() if name.startswith(f"{key}.")}
    for place, weights in entries.items():
        if not any(place.startswith(f"{outer}." if outer else "") for outer in known):
            detected = next((one for one in architectures if _detects(one, weights)), None)
            known |= {place: detected} if detected else {}
    if not known:
        raise InputError(
            f"{path}: neither a registered model nor one of the {len(registry)} architectures that spandrel knows has "
            f"such weights ({some(tensors)}){_nearest(registry, entries)}; give the code with FILE.py:NAME "
            f"--checkpoint {path.name}"
        )
    try:
        found = _taken(tensors, entries, known)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    architecture = known[found.place]
    try:
        descriptor = architecture.load(found.weights)
    except Exception as error:  # weights of another variant of the architecture
        reason = " ".join(str(error).split())[:300]
        raise InputError(
            f"{path}: looks like weights of {architecture.name} and is none that spandrel knows: {reason}"
        ) from error
    return _described(descriptor, found, path)


def _taken(tensors: Mapping[str, Tensor], entries: Mapping[str, dict[str, Tensor]], known: Mapping[str, Any]) -> Found:
    """Return the weights to take from the places where an architecture is known; raises InputError for broken ones."""
    name = known[next(iter(known))].name
    taken = only_one(preferred(list(known), tensors), entries, name)
    averaged, weights = is_average(taken, tensors), entries[taken]
    if not averaged:
        refuse_stray_average(tensors, known, taken, name, len(weights))
    found = Found(weights, taken, tuple(place for place in known if place != taken), averaged)
    refuse_broken(found, [name for name in weights if name.endswith((".weight", ".bias"))])
    return found


def _nearest(registry: Any, entries: Mapping[str, Mapping[str, Tensor]]) -> str:
    """Return which architectures want the names of weights that are here, and what they lack; "" where none does.

    spandrel keeps what it tells an architecture by in a private member; where that is another, nothing is said.
    """
    found: dict[str, tuple[float, list[str]]] = {}
    for weights in entries.values():
        for support in registry:
            architecture = support.architecture
            share, lacking = _wanted(getattr(architecture, "_detect", None), weights)
            if share > found.get(architecture.name, (NEAR, []))[0]:
                found[architecture.name] = share, lacking
    best = sorted(found.items(), key=lambda one: -one[1][0])[:2]
    said = " and ".join(f"{name}, but for {', '.join(lacking[:3])}" for name, (_, lacking) in best if lacking)
    return f"; the nearest: {said}" if said else ""


def _wanted(condition: Any, weights: Mapping[str, Tensor]) -> tuple[float, list[str]]:
    """Return the share of a condition's names that are there, and those that are not."""
    if isinstance(condition, str):
        return (1.0, []) if condition in weights else (0.0, [condition])
    parts = [_wanted(part, weights) for part in getattr(condition, "_keys", ())]
    if not parts:
        return 0.0, []
    if getattr(condition, "_kind", "all") == "any":
        return max(parts, key=lambda one: one[0])
    return sum(share for share, _ in parts) / len(parts), [name for _, lacking in parts for name in lacking]


def _registry() -> Any:
    spandrel = imports.load("spandrel")
    try:
        extra = imports.load("spandrel_extra_arches")
    except MissingError:
        return spandrel.MAIN_REGISTRY
    extra.install(ignore_duplicates=True)
    return spandrel.MAIN_REGISTRY


def _entries(tensors: Mapping[str, Tensor], key: str | None) -> dict[str, dict[str, Tensor]]:
    """Return where weights may lie in a file, outer places first, and the weights by the names that the network has.

    Raises UsageError where nothing lies in the entry ``key``.
    """
    places = dict.fromkeys(
        [key] if key is not None else ["", *(place for name in tensors for place in _wrapping(name))]
    )
    entries = {}
    for place in sorted(places, key=lambda place: (place != "", place.count("."))):
        start = f"{place}." if place else ""
        weights = {name[len(start) :]: tensor for name, tensor in tensors.items() if name.startswith(start)}
        for prefix in ("module.", "_orig_mod."):
            if weights and all(name.startswith(prefix) for name in weights):
                weights = {name[len(prefix) :]: tensor for name, tensor in weights.items()}
        if weights:
            entries[place] = weights
    if not entries:
        raise UsageError(f"--key {key}: no entry of that name holds a network's weights; it has {some(tensors)}")
    return entries


def _wrapping(name: str) -> Iterator[str]:
    """Yield the places that a tensor's name begins with, as long as trainers could have called them so."""
    parts = name.split(".")
    for at, part in enumerate(parts[:-1], 1):
        if not words(part) <= WRAPPERS | AVERAGE | TRAINED:
            return
        yield ".".join(parts[:at])


def _detects(architecture: Any, weights: Mapping[str, Tensor]) -> bool:
    try:
        return bool(architecture.detect(weights))
    except Exception:  # a rule that expects more than is there
        return False


def _described(descriptor: Any, found: Found, path: Path) -> Foreign:
    architecture, channels = descriptor.architecture, (descriptor.input_channels, descriptor.output_channels)
    name = architecture.name
    if not hasattr(descriptor, "_call_fn") or descriptor.purpose == "Inpainting":
        raise InputError(f"{path}: {name} fills holes and needs a mask, which no engine here takes")
    if channels not in ((RGB, RGB), (1, 1)):
        raise InputError(f"{path}: {name} with {channels[0]} channels in and {channels[1]} out; RGB or grey is needed")
    what = f"{name}, {descriptor.scale}x" + (f" ({', '.join(descriptor.tags)})" if descriptor.tags else "")
    say(f"{path}: {what}, recognised by spandrel" + (f"; {_origin(found)}" if found.place else ""))
    if type(architecture).__module__.startswith("spandrel_extra_arches"):
        warn(f"{name} comes from spandrel_extra_arches: its licence may exclude commercial use, see that package")
    if not descriptor.supports_half:
        say(f"    spandrel advises against FP16 for {name}; in FP16 here, what breaks is returned to FP32")
    size, usual = descriptor.size_requirements, FACE_SIZE if descriptor.purpose == "FaceSR" else LR_SIZE
    call, model = CALLS.get(architecture.id, descriptor._call_fn), descriptor.model
    if architecture.id == "IPT":
        usual = model.patch_size  # the only size that it takes in one piece
    network = UnitRange(in_order(model) if architecture.id == "ATD" else model, call, grey=channels[0] == 1).eval()
    return Foreign(network, name, found.place, descriptor.scale, size.multiple_of, size.minimum, usual)


def _with_noise(x: Tensor) -> Tensor:
    """Return pictures with a channel that says how much noise to remove."""
    return torch.cat([x, torch.full_like(x[:, :1], NOISE)], 1)


def _of_a_patch(network: Any, x: Tensor) -> Tensor:
    """Return what IPT makes of pictures of its own size."""
    network.set_scale(network.scale.index(max(network.scale)))
    y: Tensor = network(x * network.rgb_range) / network.rgb_range
    return y


def _origin(found: Found) -> str:
    return str(found) if found.others else f"weights taken from {found.place}"
