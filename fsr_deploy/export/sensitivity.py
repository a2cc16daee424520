"""Which modules a reduced precision hurts: each one reduced alone, and what the faces lose by it."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fsr_deploy.export.quality import Quality
from fsr_deploy.runtime.profiling.modules import ModuleTable

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
        return {"module": self.module, "kind": self.kind, "psnr_db": psnr, "share": self.share}


def rank(
    modules: Iterable[str],
    measure: Measure,
    table: ModuleTable,
    shares: Mapping[str, float] | None = None,
    advance: Callable[[int], None] = lambda count: None,
) -> list[Damage]:
    """Return the damage that each module does alone, the worst first."""
    damages = []
    for module in modules:
        share = None if shares is None else sum(part for path, part in shares.items() if _holds(module, path))
        damages.append(Damage(module, table.kind(module), measure([module]), share))
        advance(1)
    return sorted(damages, key=lambda damage: (-damage.quality.error, damage.module))


def group(paths: Sequence[str], table: ModuleTable) -> dict[str, list[str]]:
    """Return which of these module paths belong to each block: the innermost known module that holds several of them.

    A convolution block of its own is no block: it is part of the hourglass that holds it.
    """
    groups: dict[str, list[str]] = {}
    for path in paths:
        block = table.owner(path)
        while block and sum(_holds(block, other) for other in paths) < 2:
            block = table.owner(block.rpartition(".")[0])
        groups.setdefault(block, []).append(path)
    return groups


def _holds(module: str, path: str) -> bool:
    return not module or path == module or path.startswith(f"{module}.")
