"""Which modules a reduced precision hurts: each one reduced alone, and what the faces lose by it."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from fsr_deploy.bundle.layers import ModuleTable
from fsr_deploy.exporting.precision.blocks import holds
from fsr_deploy.exporting.proof.quality import Quality

ITSELF = "(the network itself)"  # what it does between its blocks
# From the modules that are reduced to the quality of the faces.
Measure = Callable[[Collection[str]], Quality]


@dataclass(frozen=True)
class Damage:
    """One module, of class ``kind``, reduced alone; ``share`` is its share of the engine's time, None if not known."""

    module: str
    kind: str
    quality: Quality
    share: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the damage as flat, plain data for ``bundle.json``."""
        psnr = self.quality.psnr_db if math.isfinite(self.quality.psnr_db) else None
        finite = self.quality.finite
        return {"module": self.module, "kind": self.kind, "psnr_db": psnr, "finite": finite, "share": self.share}


def rank(
    modules: Iterable[str],
    measure: Measure,
    kind: Callable[[str], str],
    advance: Callable[[int], None] = lambda count: None,
) -> list[Damage]:
    """Return the damage that each module does alone, the worst first; ``kind`` gives a module's class."""
    damages = []
    for module in modules:
        damages.append(Damage(module, kind(module), measure([module])))
        advance(1)
    return sorted(damages, key=lambda damage: (-damage.quality.error, damage.module))


def as_table(damages: Sequence[Damage]) -> list[str]:
    """Return lines for a person: block, class, PSNR against eager with it alone reduced, its own share of the time."""
    rows = [("block", "class", "PSNR alone", "time")]
    for damage in damages:
        share = "" if damage.share is None else f"{100 * damage.share:.1f} %"
        rows.append((damage.module or ITSELF, damage.kind, _decibels(damage.quality), share))
    name, kind, psnr, time = (max(map(len, column)) for column in zip(*rows, strict=True))
    return [f"{a:<{name}}  {b:<{kind}}  {c:>{psnr}}  {d:>{time}}".rstrip() for a, b, c, d in rows]


def _decibels(quality: Quality) -> str:
    if not quality.finite:
        return "NaN or Inf"
    return f"{quality.psnr_db:.2f} dB" if math.isfinite(quality.psnr_db) else "equal"


def group(paths: Sequence[str], table: ModuleTable) -> dict[str, list[str]]:
    """Return which of these module paths belong to each block: the innermost known module that holds several of them.

    A convolution block of its own is no block: it is part of the hourglass that holds it.
    """
    groups: dict[str, list[str]] = {}
    for path in paths:
        block = table.owner(path)
        while block and sum(holds(block, other) for other in paths) < 2:
            block = table.owner(block.rpartition(".")[0])
        groups.setdefault(block, []).append(path)
    return groups
