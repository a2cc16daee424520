"""The networks this package knows by name, one record each."""

from __future__ import annotations

import fnmatch
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import nn

from fsr_deploy.errors import UsageError


@dataclass(frozen=True)
class ModelRecord:
    """One registered network.

    ``options`` are the keyword arguments that ``builder`` takes for this name. ``params`` (millions) and ``macs``
    (billions, at 3x128x128) are this network's, the ``published_`` ones the paper's. ``counting`` is how the paper
    counts the latter, see complexity.py.
    """

    name: str
    builder: Callable[..., nn.Module]
    description: str
    paper: str
    options: Mapping[str, Any] = field(default_factory=dict)
    params: float | None = None
    macs: float | None = None
    published_params: float | None = None
    published_macs: float | None = None
    counting: Literal["products", "thop"] = "products"
    scale: int = 8


_RECORDS: dict[str, ModelRecord] = {}


def register(record: ModelRecord) -> ModelRecord:
    """Add a record; a second record of the same name is a programming error (ValueError)."""
    if record.name in _RECORDS:
        raise ValueError(f"model {record.name!r} is registered twice")
    _RECORDS[record.name] = record
    return record


def names(pattern: str = "*") -> list[str]:
    """Return the registered names that match a shell pattern, sorted."""
    _load_zoo()
    return sorted(fnmatch.filter(_RECORDS, pattern))


def find(name: str) -> ModelRecord:
    """Return the record of a name; raises UsageError that lists the names there are."""
    _load_zoo()
    if name not in _RECORDS:
        raise UsageError(f"no model is called {name!r}; the models are: {', '.join(names())}")
    return _RECORDS[name]


def build(name: str, **options: Any) -> nn.Module:
    """Build a registered network with fresh weights; ``options`` override the record's.

    The module maps (N, 3, H, W) float RGB in [-1, 1], the bicubically upsampled LR face, to the SR face of the
    same shape and range. Raises UsageError for an unknown name or option.
    """
    record = find(name)
    known = inspect.signature(record.builder).parameters
    if unknown := sorted(set(options) - set(known)):
        raise UsageError(f"{name} has no option {unknown[0]!r}; its options are: {', '.join(known)}")
    return record.builder(**{**record.options, **options})


def size_options(name: str, lr_size: int) -> dict[str, int]:
    """Return the options that build a network for LR faces of ``lr_size``; empty where one network takes any size."""
    return {"lr_size": lr_size} if "lr_size" in inspect.signature(find(name).builder).parameters else {}


def made_for(name: str, options: Mapping[str, Any]) -> int | None:
    """Return the side of the LR faces that a network with these options takes, None where it takes any."""
    record = find(name)
    parameter = inspect.signature(record.builder).parameters.get("lr_size")
    return None if parameter is None else {**record.options, **options}.get("lr_size", parameter.default)


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


def _load_zoo() -> None:
    """Import the modules that register networks; here and not at the top, because they import this one."""
    from fsr_deploy.models import zoo  # noqa: F401
