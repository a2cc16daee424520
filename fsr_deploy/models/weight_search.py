"""Where in a checkpoint a network's weights are: found by fitting the network, not by the names that trainers use.

A checkpoint is one dictionary of tensors, each named by all that leads to it: ``state_dict.net_g.head.weight``. A
*place* is what stands before a network's own names, ``state_dict.net_g`` there, "" for nothing. The places that hold a
whole network are found and one is taken: an average of the weights before the weights themselves, because that is what
a trainer keeps it for. Places that nothing tells apart are refused, with their names.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile

import torch
from torch import Tensor, nn

from fsr_deploy.errors import InputError, UsageError
from fsr_deploy.models.sparnet_keys import sparnet_key
from fsr_deploy.models.weight_files import some

# What torch.compile, FSDP and checkpointing put into names, at the front and in the middle.
INNER = {"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
# Words in a place that tell an average from the weights that it is made of; `exp_avg` is Adam's.
AVERAGE = {"ema", "ewma", "avg", "average", "averaged", "swa", "shadow", "polyak"}
TRAINED = {"raw", "online", "current", "exp", "no", "non", "without"}
# Words in the names of what is trained or measured beside a network, and is no part of it or no average of it.
DISCRIMINATOR = {"discriminator", "disc", "critic"}
BESIDE = {*DISCRIMINATOR, "loss", "losses", "criterion", "perceptual", "vgg", "lpips", "metrics"}
NO_AVERAGE = {*DISCRIMINATOR, "d", "exp"}
COUNTER = "num_batches_tracked"  # of batch norms: older trainers have none, and evaluation does not read it
Tensors = Mapping[str, Tensor]


@dataclass(frozen=True)
class Wanted:
    """The tensors of the network ``name``: their shapes by name, and which of them are trained."""

    name: str
    shapes: Mapping[str, tuple[int, ...]]
    parameters: frozenset[str]

    @classmethod
    def by(cls, module: nn.Module, name: str) -> Wanted:
        """Return what a module wants."""
        shapes = {key: tuple(tensor.shape) for key, tensor in module.state_dict().items()}
        return cls(name, shapes, frozenset(key for key, _ in module.named_parameters()))


@dataclass
class Place:
    """What lies below one place: ``tensors`` by the network's names, and the names of others, ``foreign`` to it."""

    name: str
    tensors: dict[str, Tensor] = field(default_factory=dict)
    foreign: list[str] = field(default_factory=list)

    def differences(self, wanted: Wanted, *, parameters: bool = False) -> str:
        """Describe how this differs from the network, or from its ``parameters``; empty where it does not."""
        shapes = {name: tuple(tensor.shape) for name, tensor in self.tensors.items()}
        needed = (name for name in wanted.shapes if not parameters or name in wanted.parameters)
        parts = {
            "missing": [name for name in needed if name not in shapes and not name.endswith(COUNTER)],
            "unexpected": self.foreign,
            "of another shape": [
                f"{name} {shapes[name]} instead of {shape}"
                for name, shape in wanted.shapes.items()
                if shapes.get(name, shape) != shape
            ],
        }
        return "; ".join(f"{len(names)} {what} ({some(names)})" for what, names in parts.items() if names)


@dataclass(frozen=True)
class Found:
    """A network's weights by its own names, taken from ``place``; ``others`` are the places of more weights of it."""

    weights: dict[str, Tensor]
    place: str
    others: tuple[str, ...]
    averaged: bool
    rest_from: str | None = None  # the place of what an average of the parameters alone lacks

    def __str__(self) -> str:
        what = "the averaged weights" if self.averaged else "the weights"
        rest = f", with the statistics in {self.rest_from}" if self.rest_from else ""
        return f"took {what} in {self.place}{rest}; --key NAME takes others: {', '.join(self.others)}"


def search(tensors: Tensors, wanted: Wanted) -> Found | None:
    """Return a network's weights, None where no place fits it.

    Raises InputError where several fit alike, and where there is an average that does not fit beside weights that do.
    """
    places = places_of(tensors, wanted)
    whole = {place.name: place.tensors for place in places if not place.differences(wanted)}
    if not whole:
        return None
    parts = {  # averages of what is trained, without batch norms' statistics
        place.name: place.tensors
        for place in places
        if place.name not in whole and _mark(place.name, tensors) and not place.differences(wanted, parameters=True)
    }
    kept = preferred([*whole, *parts], tensors)
    taken = only_one([name for name in kept if name in whole] or kept, {**whole, **parts}, wanted.name)
    others = tuple(name for name in (*whole, *parts) if name != taken)
    if taken in parts:
        rest = only_one(preferred(list(whole), tensors), whole, wanted.name)
        return Found({**whole[rest], **parts[taken]}, taken, others, True, rest)
    averaged = is_average(taken, tensors)
    if not averaged:
        refuse_stray_average(tensors, whole, taken, wanted.name, len(wanted.parameters))
    return Found(whole[taken], taken, others, averaged)


def refuse_broken(found: Found, parameters: Collection[str]) -> None:
    """Raise InputError for weights that are no plain, finite tensors, or whole numbers where ``parameters`` are."""
    where = f" in {found.place}" if found.others else ""
    others = f", or other weights of this file with --key: {', '.join(found.others)}" if found.others else ""
    for name, tensor in found.weights.items():
        if tensor.is_meta or tensor.is_quantized or tensor.layout is not torch.strided:
            raise InputError(f"{name}{where} is empty, sparse or quantised; save the weights as plain tensors")
        if name in parameters and not tensor.is_floating_point():
            kind = str(tensor.dtype).removeprefix("torch.")
            raise InputError(f"{name}{where} holds {kind}, no fractions; take the weights from before quantisation")
        if not torch.isfinite(tensor.float()).all():
            raise InputError(
                f"{name}{where} holds NaN or infinity; take a checkpoint from before the training broke{others}"
            )


def below(tensors: Tensors, key: str, wanted: Wanted) -> Tensors:
    """Return the tensors of the entry ``key``, named in full or from any part of it on.

    Raises UsageError, with the places that fit the network, where nothing is called so.
    """
    inside = {name: tensor for name, tensor in tensors.items() if name.startswith(f"{key}.")}
    inside = inside or {name: tensor for name, tensor in tensors.items() if f".{key}." in name}
    if inside:
        return inside
    fitting = [place.name for place in places_of(tensors, wanted) if not place.differences(wanted)]
    if fitting == [""]:
        raise UsageError(f"--key {key}: its weights lie in no entry; leave --key out")
    known = ", ".join(fitting) if fitting else some(dict.fromkeys(name.split(".")[0] for name in tensors))
    raise UsageError(f"--key {key}: no entry of that name; it has {known}")


def places_of(tensors: Tensors, wanted: Wanted) -> list[Place]:
    """Return every place that holds a tensor by a name of the network's, the one with most of them first."""
    places: dict[str, Place] = {}
    matched: dict[str, set[str]] = {}
    for full in tensors:
        parts = full.split(".")
        for at in range(len(parts)):
            own = _own_name(parts[at:], wanted)
            place = ".".join(parts[:at])
            if own and own not in places.setdefault(place, Place(place)).tensors:
                places[place].tensors[own] = tensors[full]
                matched.setdefault(place, set()).add(full)
    found = sorted(places.values(), key=lambda place: -len(place.tensors))
    for one in found:
        if one is found[0] or len(one.tensors) >= len(wanted.parameters):
            start = f"{one.name}." if one.name else ""
            rest = [name for name in tensors if name.startswith(start) and name not in matched[one.name]]
            one.foreign = [name[len(start) :] for name in rest if _is_part(name[len(start) :], tensors[name])]
    return found


def _own_name(parts: Sequence[str], wanted: Wanted) -> str | None:
    """Return the name that the network has for a tensor, None where it has none; the public SPARNet's are known."""
    if parts[0] in INNER:
        return None
    plain = ".".join(part for part in parts if part not in INNER)
    return next((name for name in (".".join(parts), plain, sparnet_key(plain)) if name in wanted.shapes), None)


def _is_part(name: str, tensor: Tensor) -> bool:
    """Return whether a tensor can be a part of the network that it lies beside: no counter, no loss's."""
    first, dot, _ = name.partition(".")
    if not dot and (tensor.dim() == 0 or not tensor.is_floating_point()):
        return False
    return not words(first) & BESIDE


def preferred(names: Sequence[str], tensors: Tensors) -> list[str]:
    """Return the averages among the places, or those not marked as what averages are made of; all where none is.

    What all places share tells nothing of them: among ``ema.online_model`` and ``ema.ema_model`` the second is one.
    """
    names = list(names)
    while len(names) > 1:
        columns = zip(*(name.split(".") for name in names), strict=False)
        shared = len(list(takewhile(lambda parts: len(set(parts)) == 1, columns)))
        marks = {name: _mark(name, tensors, shared) for name in names}
        kept = [name for name in names if marks[name]] or [name for name in names if marks[name] is not False]
        if len(kept) in (0, len(names)):
            break
        names = kept
    return names


def _mark(place: str, tensors: Tensors, start: int = 0) -> bool | None:
    """Return whether the last part of a place that tells says it is an average, None where none of them tells."""
    parts = place.split(".")
    if parts[0] == "ema_state_dict" and "ema_state_dict.steps" in tensors:
        return False  # MMEngine swaps the two when it saves
    for at in reversed(range(start, len(parts))):
        found = words(parts[at])
        if found & TRAINED:
            return False
        if found & AVERAGE or (parts[at] == "module" and ".".join([*parts[:at], "n_averaged"]) in tensors):
            return True
    return None


def only_one(names: Sequence[str], places: Mapping[str, Tensors], network: str) -> str:
    """Return the first of the places where all hold the same; raises InputError where they do not."""
    first = places[names[0]]
    if any(not _equal(first, places[name]) for name in names[1:]):
        raise InputError(
            f"several entries hold weights of {network}: {', '.join(names)}; name one with --key, "
            f"for example --key {names[0]}"
        )
    return names[0]


def _equal(one: Tensors, other: Tensors) -> bool:
    def alike(a: Tensor, b: Tensor) -> bool:
        return a.dtype == b.dtype and torch.equal(a, b)

    return one.keys() == other.keys() and all(alike(tensor, other[name]) for name, tensor in one.items())


def is_average(place: str, tensors: Tensors) -> bool:
    """Return whether the name of a place says that an average of weights lies there."""
    return bool(_mark(place, tensors))


def refuse_stray_average(tensors: Tensors, fitting: Iterable[str], taken: str, network: str, size: int) -> None:
    """Raise InputError for what is called an average, lies outside of the places that fit, and is half as large.

    ``size`` is the number of the network's parameters; ``taken`` is the place that would be taken instead.
    """
    starts = tuple(f"{name}." if name else "" for name in fitting)
    counts: Counter[str] = Counter()
    for name in tensors:
        parts = name.split(".")
        at = next((at for at, part in enumerate(parts[:-1]) if words(part) & AVERAGE), None)
        if at is not None and not name.startswith(starts) and not words(".".join(parts[: at + 1])) & NO_AVERAGE:
            counts[".".join(parts[: at + 1])] += 1
    if stray := next((place for place, count in counts.items() if 2 * count >= size), None):
        raise InputError(
            f"{stray} looks like an average of the weights, but its names or shapes are not those of {network}; "
            f"--key {taken} takes the weights that are not averaged"
        )


def words(name: str) -> set[str]:
    """Return the words of a name, in small letters: ``netGEMA_v2`` has net, g, ema and v."""
    return {word.lower() for word in re.findall(r"EMA|[A-Z]+?(?=EMA)|[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)}
