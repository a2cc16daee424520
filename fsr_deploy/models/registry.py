"""The networks known by name, one record each: those of this package and those that others register.

Others register theirs with ``register``, or name a module or a record in the entry-point group ``fsr_deploy.models`` of
their own package, which is loaded when a network is first looked for.
"""

from __future__ import annotations

import fnmatch
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal

from torch import nn

from fsr_deploy._util.log import warn
from fsr_deploy.errors import UsageError

GROUP = "fsr_deploy.models"


@dataclass(frozen=True)
class ModelRecord:
    """One registered network.

    ``build`` makes it with fresh weights from ``options``, keyword arguments. It enlarges ``scale`` times and takes
    what ``input`` says: "upsampled", the LR face brought to the SR face's size by bicubic, (N, 3, H, W) to the same
    shape; or "lr", the LR face itself, (N, 3, h, w) to (N, 3, scale h, scale w). Both float RGB in ``range``, black
    to white. Sides of LR faces are multiples of ``size_multiple``; a network that is made for one size has a
    ``size_option``, the name of ``build``'s argument for it.

    ``params`` (millions) and ``macs`` (billions, at 3x128x128) are this network's, the ``published_`` ones the paper's.
    ``counting`` is how the paper counts the latter, see complexity.py.
    """

    name: str
    build: Callable[..., nn.Module]
    description: str = ""
    paper: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    params: float | None = None
    macs: float | None = None
    published_params: float | None = None
    published_macs: float | None = None
    counting: Literal["products", "thop"] = "products"
    scale: int = 8
    input: Literal["upsampled", "lr"] = "upsampled"
    range: tuple[float, float] = (-1.0, 1.0)
    size_multiple: int = 1
    size_option: str | None = None

    @property
    def upsampling(self) -> int:
        """How many times an LR face is enlarged before the network takes it."""
        return self.scale if self.input == "upsampled" else 1


_RECORDS: dict[str, ModelRecord] = {}


def register(record: ModelRecord) -> ModelRecord:
    """Add a record; a second record of the same name is a programming error (ValueError)."""
    if record.name in _RECORDS:
        raise ValueError(f"model {record.name!r} is registered twice")
    _RECORDS[record.name] = record
    return record


def names(pattern: str = "*") -> list[str]:
    """Return the registered names that match a shell pattern, sorted."""
    _load_all()
    return sorted(fnmatch.filter(_RECORDS, pattern))


def find(name: str) -> ModelRecord:
    """Return the record of a name; raises UsageError that lists the names there are."""
    _load_all()
    if name not in _RECORDS:
        raise UsageError(f"no model is called {name!r}; the models are: {', '.join(names())}")
    return _RECORDS[name]


def build(name: str, **options: Any) -> nn.Module:
    """Build a registered network with fresh weights; ``options`` override the record's.

    What the module takes and gives is ModelRecord's to say. Raises UsageError for an unknown name or option.
    """
    record = find(name)
    known = inspect.signature(record.build).parameters
    if unknown := sorted(set(options) - set(known)):
        raise UsageError(f"{name} has no option {unknown[0]!r}; its options are: {', '.join(known)}")
    return record.build(**{**record.options, **options})


def size_options(name: str, lr_size: int) -> dict[str, int]:
    """Return the options that build a network for LR faces of ``lr_size``; empty where one network takes any size.

    Raises UsageError for a size that is no multiple of the network's.
    """
    record = find(name)
    if lr_size % record.size_multiple:
        raise UsageError(f"--lr-size {lr_size}: {name} takes multiples of {record.size_multiple}")
    return {record.size_option: lr_size} if record.size_option else {}


def made_for(name: str, options: Mapping[str, Any]) -> int | None:
    """Return the side of the LR faces that a network with these options takes, None where it takes any."""
    record = find(name)
    if record.size_option is None:
        return None
    default = inspect.signature(record.build).parameters[record.size_option].default
    return {**record.options, **options}.get(record.size_option, default)


def lines(records: Sequence[ModelRecord]) -> list[str]:
    """Return a line for each record: its name, its size, what it is."""
    width = max(len(record.name) for record in records)
    sizes = [
        f"{record.params:6.2f} M {record.macs:6.2f} G" if record.params and record.macs else " " * 17
        for record in records
    ]
    rows = zip(records, sizes, strict=True)
    return [f"{record.name:<{width}}  {size}  {record.description}" for record, size in rows]


def markdown(pattern: str = "*") -> str:
    """Return a Markdown table of the models that match a shell pattern, our figures beside the published ones.

    Parameters in millions; multiply-accumulates in billions at 3x128x128, counted as complexity.py says.
    """
    rows = [
        ["model", "what it is", "params (M)", "published", "MACs (G)", "published", "counting"],
        ["---", "---", "---:", "---:", "---:", "---:", "---"],
    ]
    for name in names(pattern):
        record = find(name)
        figures = (record.params, record.published_params, record.macs, record.published_macs)
        numbers = ["" if figure is None else f"{figure:.2f}" for figure in figures]
        rows.append([f"`{name}`", record.description, *numbers, record.counting])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _load_all() -> None:
    """Load this package's networks and, once, those that other packages name as entry points.

    Here and not at the top, because the modules that register networks import this one.
    """
    from fsr_deploy.models import zoo  # noqa: F401

    while _waiting:
        _load(_waiting.pop())


def _load(entry: EntryPoint) -> None:
    """Load an entry point: a record, or a module or function that registers some. A broken one costs a warning only."""
    try:
        found = entry.load()
        if isinstance(found, ModelRecord):
            register(found)
        elif callable(found):
            found()
    except Exception as error:
        warn(f"{GROUP}: {entry.name} ({entry.value}) cannot be loaded: {type(error).__name__}: {error}")


_waiting = list(entry_points(group=GROUP))
