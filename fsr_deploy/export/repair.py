"""The fewest modules back to float until the quality budget holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fsr_deploy.errors import ParityError
from fsr_deploy.export.parity import Budget
from fsr_deploy.export.quality import Quality
from fsr_deploy.export.sensitivity import Damage, Measure


def repair(
    modules: Sequence[str],
    measure: Measure,
    budget: Budget,
    damages: Callable[[], Sequence[Damage]],
) -> tuple[dict[str, str], Quality]:
    """Return the modules that go back to float, each with its reason, and the quality that is left.

    ``damages`` ranks the modules; it is asked for only over budget. Errors of different modules add up, which tells
    how many of the worst have to go; the result is measured, and one more goes until the budget holds. Raises
    ParityError where none could stay: then nothing is left of the reduced precision.
    """
    quality = measure(modules)
    if quality.within(budget):
        return {}, quality
    ranking = list(damages())
    count = _predicted(ranking, budget)
    while count < len(ranking):
        returned = {damage.module: _reason(damage) for damage in ranking[:count]}
        quality = measure([module for module in modules if module not in returned])
        if quality.within(budget):
            return returned, quality
        count += 1
    raise ParityError(f"over budget ({quality}) until every module is back in float; export it without this precision")


def _predicted(ranking: Sequence[Damage], budget: Budget) -> int:
    """Return how many of the worst modules have to go by their own errors, at least one."""
    if budget.min_psnr_db is None:
        return 1
    allowed = Quality(budget.min_psnr_db).error
    rest = [sum(damage.quality.error for damage in ranking[count:]) for count in range(len(ranking) + 1)]
    return max(1, next(count for count, error in enumerate(rest) if error <= allowed))


def _reason(damage: Damage) -> str:
    return f"over budget in reduced precision: alone it leaves {damage.quality}"
