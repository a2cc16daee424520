"""Figures with intervals, made for a machine that drifts and is disturbed.

A run of the profiler visits every engine and batch size in several *passes* spread over the whole run; within a pass
all engines take turns, once per *round*. A pass is one observation, its median: a disturbance of a few rounds does not
change it, and successive passes are seconds to minutes apart. All intervals are at 95 % and come from the ranks of
these eight observations, so that they hold whatever their distribution is, as long as any order of the passes is as
likely as another:

- of a latency (``typical``): the range in which the median of another, equally long run is expected, from the smallest
  to the largest of the passes' medians.
- of a ratio of two engines in one run (``paired_ratio``): the rounds pair the engines, so drift and disturbances that
  last longer than a round cancel. Hodges and Lehmann's estimate with the interval of Wilcoxon's signed ranks.
- of a change between two runs (``change``): the same with the ranks of Mann and Whitney, of the passes of one run among
  those of the other.

Drift that is slower than a whole run does not show in its passes. A yardstick (fixed work, timed in both runs) and the
load by other processes measure it, and ``change`` allows for it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

PASSES = 8
P99_SAMPLES = 100
ERROR = 0.05  # how often an interval misses its figure

Passes = Sequence[Sequence[float]]


@dataclass(frozen=True)
class Estimate:
    """A measured figure and the bounds of its interval; ``passes`` are the medians that it was taken from."""

    value: float
    low: float
    high: float
    passes: tuple[float, ...] = ()

    def times(self, factor: float) -> Estimate:
        """Return the figure in another unit."""
        passes = tuple(factor * one for one in self.passes)
        return Estimate(factor * self.value, factor * self.low, factor * self.high, passes)


@dataclass(frozen=True)
class Latency:
    """Latency of one engine at one batch size, in milliseconds per batch; ``p99`` is None below 100 samples."""

    p50: Estimate
    p90: float
    p99: float | None
    max: float
    samples: int


def latency(passes: Passes) -> Latency:
    """Summarise the samples (seconds) of one engine at one batch size."""
    samples = np.concatenate([np.asarray(part, float) for part in passes]) * 1e3
    p90, p99 = np.percentile(samples, (90, 99)).tolist()
    return Latency(
        p50=typical([[1e3 * value for value in part] for part in passes]),
        p90=p90,
        p99=p99 if samples.size >= P99_SAMPLES else None,
        max=samples.max().item(),
        samples=samples.size,
    )


def typical(passes: Passes) -> Estimate:
    """Return the median of all samples and the bounds in which another run's median is expected, in their unit.

    With eight passes each, a run's median lies outside the range of another's in about 4 % of all cases.
    """
    medians = tuple(float(np.median(part)) for part in passes)
    median = np.median(np.concatenate([np.asarray(part, float) for part in passes])).item()
    return Estimate(median, min(medians), max(medians), medians)


def change(old: Estimate, new: Estimate, drift: float = 1.0, looks: int = 1, scatter: float = 0.0) -> Estimate:
    """Return new / old for figures of two runs; its interval holds the errors of both.

    ``drift`` is the factor by which the machine itself may have been slower in the new run. The engine may have been
    affected or not, so the interval covers both cases. ``looks`` is the number of figures that are compared: the
    interval is widened so that all of them hold together with 95 % (Bonferroni), as far as eight passes allow. The
    widest interval, from the smallest to the largest ratio, is missed once in 6435 cases, which is enough for 321
    figures. ``scatter`` is how much figures like these differ between runs beyond the noise of passes (``excess``), as
    a standard deviation in log time. Raises ValueError for figures without passes.
    """
    if not old.passes or not new.passes:
        raise ValueError("a figure without passes cannot be compared")
    ratios = np.subtract.outer(np.log(new.passes), np.log(old.passes))
    value, low, high = _by_ranks(ratios, _rank_sums(len(new.passes), len(old.passes)), ERROR / looks)
    doubt = scatter * NormalDist().inv_cdf(1 - ERROR / looks / 2)
    low, high = math.exp(low - doubt), math.exp(high + doubt)
    return Estimate(math.exp(value), low / max(drift, 1.0), high / min(drift, 1.0))


def excess(pairs: Sequence[tuple[Estimate, Estimate]]) -> float:
    """Return how much the changes of many figures (old, new) differ from each other beyond their passes' noise. It is a
    standard deviation in log time, estimated from the median deviation, so that a few real changes count little. With
    few figures, only a scatter that is unlikely by chance counts.
    """
    old, new = (np.log([one.passes for one in side]) for side in zip(*pairs, strict=True))
    changes = new.mean(axis=1) - old.mean(axis=1)
    noise = np.median((old.var(axis=1, ddof=1) + new.var(axis=1, ddof=1)) / old.shape[1])
    spread = np.median(np.abs(changes - np.median(changes))) / NormalDist().inv_cdf(0.75)
    return math.sqrt(max(0.0, float(spread**2 - noise * (1 + 3 / math.sqrt(len(pairs))))))


def paired_ratio(samples: Passes, base: Passes) -> Estimate:
    """Return how many times as long as ``base`` the samples are; the i-th of both were taken in the same round."""
    ratios = [np.median(np.log(np.divide(ours, theirs))) for ours, theirs in zip(samples, base, strict=True)]
    means = np.add.outer(ratios, ratios)[np.triu_indices(len(ratios))] / 2
    value, low, high = _by_ranks(means, _signed_ranks(len(ratios)), ERROR)
    return Estimate(math.exp(value), math.exp(low), math.exp(high))


def _by_ranks(values: NDArray[np.float64], counts: Sequence[int], error: float) -> tuple[float, float, float]:
    """Return the median of the values and the two values, equally far from the ends, that a figure exceeds with
    ``error``.

    ``counts`` says in how many of all equally likely cases 0, 1, 2 ... values lie on one side of the figure.
    """
    ordered = np.sort(values, axis=None)
    cut = sum(2 * case <= error * sum(counts) for case in accumulate(counts))
    end = min(max(cut - 1, 0), (len(ordered) - 1) // 2)
    return float(np.median(ordered)), float(ordered[end]), float(ordered[-1 - end])


def _rank_sums(first: int, second: int) -> list[int]:
    """Return in how many orders of two samples so many pairs are the wrong way round (Mann and Whitney's U)."""
    ways = [[1] + [0] * (first * second) for _ in range(second + 1)]
    for _ in range(first):
        for other in range(1, second + 1):
            before, without = ways[other], ways[other - 1]
            # The largest of all is of the first sample, above all of the second, or of the second.
            ways[other] = [(before[u - other] if u >= other else 0) + without[u] for u in range(first * second + 1)]
    return ways[second]


def _signed_ranks(count: int) -> list[int]:
    """Return for how many choices of signs the ranks of the negative ones sum to 0, 1, 2 ... (Wilcoxon)."""
    ways = [1]
    for rank in range(1, count + 1):
        longer = ways + [0] * rank
        ways = [n + (longer[i - rank] if i >= rank else 0) for i, n in enumerate(longer)]
    return ways
