"""The fewest modules back to float until the quality budget holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fsr_deploy._util.console import progress
from fsr_deploy.errors import ParityError
from fsr_deploy.exporting.precision.sensitivity import Damage, Measure
from fsr_deploy.exporting.proof.parity import Budget
from fsr_deploy.exporting.proof.quality import Quality


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
