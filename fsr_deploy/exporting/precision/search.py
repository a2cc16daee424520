"""Which modules a reduced precision hurts, and the fewest that go back to float until the budget holds."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from fsr_deploy._util.log import progress
from fsr_deploy.errors import ParityError
from fsr_deploy.exporting.proof.parity import Budget
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


def repair(
    modules: Sequence[str],
    measure: Measure,
    budget: Budget,
    damages: Callable[[], Sequence[Damage]],
) -> tuple[dict[str, str], Quality]:
    """Return the modules that go back to float, each with its reason, and the quality that is left.

    ``damages`` ranks the modules; it is asked for only over budget. The worst goes back, then the two worst, and so on:
    the result is measured each time, because what modules do alone does not add up to what they do together. Raises
    ParityError where none could stay: then nothing is left of the reduced precision.
    """
    quality = measure(modules)
    if quality.within(budget):
        return {}, quality
    ranking = list(damages())
    with progress("blocks back to float", len(ranking)) as advance:
        for count in range(1, len(ranking)):
            returned = {damage.module: _reason(damage) for damage in ranking[:count]}
            quality = measure([module for module in modules if module not in returned])
            if quality.within(budget):
                return returned, quality
            advance(1)
    raise ParityError(f"over budget ({quality}) until every module is back in float; export it without this precision")


def _reason(damage: Damage) -> str:
    return f"over budget in reduced precision: alone it leaves {damage.quality}"
