"""Figures with intervals, made for a machine that drifts and is disturbed.

A run of the profiler visits every engine and batch size in several *passes* spread over the whole run; within a pass
all engines take turns, once per *round*. From that follow two kinds of interval, both at 95 %:

- of a latency (``typical``): where the median of another, equally long run is expected. With K passes, s the standard
  deviation of their medians in log time and t Student's quantile for K - 1 degrees of freedom, it is
  median * exp(+- t s sqrt(2 / K)), this run's error and the other's, and no narrower than the range of the passes'
  medians and a quarter of it on either side: a machine that is slow for a while has no normal distribution, and of 8
  passes that know two states another run may see one only. The passes are seconds to minutes apart, so
  they hold the machine's drift. Drift slower than a whole run cannot show: ``change``, which compares two runs, adds
  what a yardstick, fixed work timed in both, and the load by others say of the machine.
- of a ratio of two engines in one run (``paired_ratio``): the rounds pair the engines, so drift and disturbances that
  last longer than a round cancel. The ratio is the median over the rounds; its interval the percentiles of a circular
  block bootstrap (blocks of n^(1/3) successive rounds, so that correlated rounds stay together), widened for few
  blocks as Student's t is against the normal distribution.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

PASSES = 8
RESAMPLES = 1000
P99_SAMPLES = 100
BEYOND_RANGE = 0.25  # of the range of the passes' medians: another run lies outside the range itself too often

Passes = Sequence[Sequence[float]]


@dataclass(frozen=True)
class Estimate:
    """A measured figure and the bounds of its interval."""

    value: float
    low: float
    high: float


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
    """Return the median of all samples and the bounds in which another run's median is expected, in their unit."""
    median = np.median(np.concatenate([np.asarray(part, float) for part in passes])).item()
    medians = np.array([np.median(part) for part in passes])
    spread = np.log(medians).std(ddof=1).item()
    reach = math.exp(student_t(0.975) * spread * math.sqrt(2 / len(passes)))
    low, high = medians.min().item(), medians.max().item()
    beyond = (high / low) ** BEYOND_RANGE
    return Estimate(median, min(median / reach, low / beyond), max(median * reach, high * beyond))


def change(old: Estimate, new: Estimate, drift: float = 1.0, looks: int = 1) -> Estimate:
    """Return new / old for figures of two runs; its interval holds the errors of both.

    ``drift`` is by what factor the machine itself was faster or slower in the other run: no change smaller than that
    can be blamed on an engine, so the interval is widened by it. ``looks`` is how many figures are compared at once:
    the interval is widened so that all of them hold with 95 % (Bonferroni).
    """
    ratio = new.value / old.value
    wider = student_t(1 - 0.025 / looks) / student_t(0.975)
    below = math.hypot(math.log(new.value / new.low), math.log(old.high / old.value))
    above = math.hypot(math.log(new.high / new.value), math.log(old.value / old.low))
    drift = max(drift, 1 / drift)
    return Estimate(ratio, ratio * math.exp(-below * wider) / drift, ratio * math.exp(above * wider) * drift)


def student_t(probability: float) -> float:
    """Return Student's quantile for PASSES - 1 = 7 degrees of freedom, by bisection of its distribution function.

    With theta = arctan(t / sqrt(7)), P(T < t) = 1/2 + (theta + sin theta cos theta (1 + 2/3 cos^2 + 8/15 cos^4)) / pi.
    """
    low, high = 0.0, 1000.0
    for _ in range(60):
        middle = (low + high) / 2
        theta = math.atan(middle / math.sqrt(PASSES - 1))
        square = math.cos(theta) ** 2
        odd = math.sin(theta) * math.cos(theta) * (1 + square * 2 / 3 + square * square * 8 / 15)
        low, high = (middle, high) if 0.5 + (theta + odd) / math.pi < probability else (low, middle)
    return high


def paired_ratio(samples: Sequence[float], base: Sequence[float]) -> Estimate:
    """Return the median over the rounds of samples / base, both in order of time."""
    logs = np.log(np.asarray(samples, float) / np.asarray(base, float))
    count = logs.size
    length = round(count ** (1 / 3))
    blocks = -(-count // length)
    starts = np.random.default_rng(0).integers(count, size=(RESAMPLES, blocks, 1))
    picks = (starts + np.arange(length)).reshape(RESAMPLES, -1)[:, :count] % count
    centre = np.median(logs).item()
    low, high = np.percentile(np.median(logs[picks], axis=1), (2.5, 97.5)) - centre
    wider = 1 + 1.2 / (blocks - 1)
    return Estimate(math.exp(centre), math.exp(centre + low * wider), math.exp(centre + high * wider))
