"""A float graph to 8 bits, top down: which convolutions, their ranges, the pairs in the graph, what has to go back."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray
from onnx import ModelProto

from fsr_deploy._util.log import progress, say, warn
from fsr_deploy.bundle.layers import ModuleTable
from fsr_deploy.errors import InputError
from fsr_deploy.exporting.graph.sessions import run_graph
from fsr_deploy.exporting.int8 import ranges as cache
from fsr_deploy.exporting.int8.calibration import observe
from fsr_deploy.exporting.int8.formats import INT8, NumberFormat
from fsr_deploy.exporting.int8.qdq import insert
from fsr_deploy.exporting.int8.ranges import CALIBRATORS
from fsr_deploy.exporting.int8.sites import INT7_MAX, Site, find_sites
from fsr_deploy.exporting.int8.timing import choose
from fsr_deploy.exporting.precision.blocks import group
from fsr_deploy.exporting.precision.search import Damage, rank, repair
from fsr_deploy.exporting.proof.parity import Budget
from fsr_deploy.exporting.proof.quality import Judge, Quality

FEW = 16
RANKED = 16  # faces that rank the blocks; what is decided on is measured with all

Faces = Sequence[tuple[str, NDArray[Any]]]


@dataclass(frozen=True)
class Scheme:
    """A float graph with all that is needed to write it in 8 bits.

    ``blocks`` maps each block of the network to its convolutions that go to 8 bits, ``reasons`` the others, by module,
    to why they do not; ``ranges`` are the largest magnitudes of the tensors. ``results`` and ``unsigned`` are
    qdq.insert's.
    """

    model: ModelProto
    blocks: dict[str, list[Site]]
    ranges: dict[str, float]
    reasons: dict[str, str] = field(default_factory=dict)
    results: bool = True
    unsigned: bool = field(default=False, kw_only=True)

    def write(self, blocks: Collection[str]) -> ModelProto:
        """Return the graph with these blocks in 8 bits."""
        return insert(self.model, self.sites(blocks), self.ranges, results=self.results, unsigned=self.unsigned)

    def sites(self, blocks: Collection[str]) -> list[Site]:
        """Return the convolutions of these blocks."""
        return [site for block in blocks for site in self.blocks[block]]

    def computed(self, blocks: Collection[str]) -> ModelProto:
        """Return the graph that this CPU has to run for what an engine of ``write``'s graph computes."""
        return self.write(blocks)

    def proven(self, blocks: Collection[str]) -> list[ModelProto]:
        """Return the graphs that have to keep the budget, as open_engines runs them once the graph is written."""
        return [self.computed(blocks)]


def make_scheme(
    model: ModelProto,
    table: ModuleTable,
    float_modules: dict[str, str],
    faces: Faces,
    calibrator: str,
    *,
    timed: bool,
    number_format: NumberFormat = INT8,
    unsigned: bool = False,
) -> Scheme:
    """Choose the convolutions and measure their ranges.

    ``timed`` for a CPU, those that measure faster here; for a GPU, which cannot be measured here, every dense
    convolution outside attention and norms but the first and the last, rounded at its input only. ``unsigned`` is
    qdq.insert's. Raises InputError where none is left.
    """
    sites, reasons = find_sites(model, float_modules, number_format)
    if timed:
        with progress("time convolutions", len(sites)) as advance:
            sites, slower = choose(model, sites, advance)
        reasons |= slower
    narrow = sum(site.weight_levels == INT7_MAX for site in sites)
    of_them = f" ({narrow} with weights of 7 bits, which this CPU computes faster)" if narrow else ""
    if products := sum(site.weight_zero != 0 for site in sites):
        of_them += f" ({products} as matrix products, with AMX)"
    say(f"    {len(sites)} convolutions in {number_format.title}{of_them}, {len(reasons)} in float")
    if not sites:
        raise nothing_to_quantise(reasons, number_format)
    groups = group([site.module for site in sites], table)
    blocks = {block: [site for site in sites if site.module in members] for block, members in groups.items()}
    return Scheme(model, blocks, find_ranges(model, sites, faces, calibrator), reasons, timed, unsigned=unsigned)


def nothing_to_quantise(reasons: dict[str, str], number_format: NumberFormat) -> InputError:
    """Return the error for a network without a convolution for 8 bits; ``reasons`` are those of its modules."""
    first = "; ".join(f"{module}: {reason}" for module, reason in list(reasons.items())[:3]) or "it has no convolution"
    name = number_format.name
    return InputError(f"nothing of this network goes to {name.upper()}, export it without --{name} ({first})")


def find_ranges(model: ModelProto, sites: Sequence[Site], faces: Faces, calibrator: str) -> dict[str, float]:
    """Return the largest magnitude to represent of each tensor that may be rounded, kept from an earlier run or not."""
    tensors = sorted({name for site in sites for name in (site.source, site.result)})
    if len(faces) < FEW:
        warn(f"calibrated on {len(faces)} faces only; give at least {FEW}, or faces unlike these may be clipped")
    path = cache.cache_path(model, tensors, faces, calibrator)
    if known := cache.load(path, tensors):
        say(f"    ranges of an earlier calibration: {path}")
        return known
    with progress("calibrate", len(faces)) as advance:
        histograms = observe(model, tensors, faces, advance)
    ranges = {name: CALIBRATORS[calibrator](histogram) for name, histogram in histograms.items()}
    cache.keep(path, ranges)
    return ranges


def measure_with(scheme: Scheme, judge: Judge) -> Callable[[Collection[str]], Quality]:
    """Return a function from the blocks in 8 bits to the quality of the faces."""
    return lambda blocks: judge(run_graph(scheme.computed(blocks), judge.inputs))


def prove_with(scheme: Scheme, judge: Judge, budget: Budget) -> Callable[[Collection[str]], Quality]:
    """Return a function from the blocks in 8 bits to the quality of the faces where it is worst."""

    def measure(blocks: Collection[str]) -> Quality:
        found = [judge(run_graph(graph, judge.inputs)) for graph in scheme.proven(blocks)]
        return max(found, key=lambda quality: (not quality.within(budget), quality.error))

    return measure


def damages(scheme: Scheme, judge: Judge, table: ModuleTable) -> list[Damage]:
    """Return what each block does to the faces when it alone is in 8 bits, the worst first."""
    with progress("blocks one by one", len(scheme.blocks)) as advance:
        return rank(scheme.blocks, measure_with(scheme, judge.first(RANKED)), table.kind, advance)


def quantise(
    scheme: Scheme,
    table: ModuleTable,
    judge: Judge,
    budget: Budget,
    *,
    repaired: bool,
    ranking: Callable[[], Sequence[Damage]] | None = None,
) -> tuple[ModelProto, dict[str, str], Quality]:
    """Return the quantised graph, the reason of every module in float, and the quality that was measured.

    With ``repaired``, the fewest blocks go back to float until the budget holds; ParityError where none could stay.
    ``ranking`` gives the ``damages`` where they are known already.
    """
    measure = prove_with(scheme, judge, budget)
    returned: dict[str, str] = {}
    if repaired:
        returned, quality = repair(
            list(scheme.blocks), measure, budget, ranking or (lambda: damages(scheme, judge, table))
        )
    else:
        quality = measure(scheme.blocks)
    for block, reason in returned.items():
        say(f"    back to float: {block} ({table.kind(block)}), {reason}")
    say(f"    {quality}")
    return scheme.write([block for block in scheme.blocks if block not in returned]), scheme.reasons | returned, quality
