"""95 % means 95 %: intervals hold what they are about as often as they say, neither less often nor more."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations, pairwise, product

import numpy as np
import pytest
from numpy.typing import NDArray

from fsr_deploy.profiling.rounds import Schedule, Series, measure
from fsr_deploy.profiling.statistics import PASSES, Estimate, change, excess, latency, paired_ratio, typical
from tests.runtime.machines import NoisyMachine, SimulatedClock, SimulatedEngine

RUNS = 40
MANY = 1200  # of which 95 % are known within 1.9 %, three standard errors
NOISE = 0.02  # of a pass, in log time

Draw = Callable[[np.random.Generator], NDArray[np.float64]]
# Logarithms of eight passes' medians: noise of a bell, with outliers, slow more often than fast, of two states.
SHAPES: dict[str, Draw] = {
    "normal": lambda rng: NOISE * rng.normal(size=PASSES),
    "heavy tails": lambda rng: NOISE * rng.standard_t(2, size=PASSES),
    "skewed": lambda rng: NOISE * rng.exponential(size=PASSES),
    "two states": lambda rng: 0.3 * rng.integers(2, size=PASSES) + NOISE * rng.normal(size=PASSES),
}


def figure(logs: NDArray[np.float64], factor: float = 1.0) -> Estimate:
    return typical([[10 * factor * value] for value in np.exp(logs)])


def holds(ratio: Estimate, truth: float = 1.0) -> bool:
    return ratio.low <= truth <= ratio.high


@pytest.mark.parametrize("draw", SHAPES.values(), ids=SHAPES)
def test_the_interval_of_a_change_holds_the_true_one_in_95_of_100_comparisons(draw: Draw) -> None:
    rng = np.random.default_rng(1)
    held = [holds(change(figure(draw(rng)), figure(draw(rng), 1.3)), 1.3) for _ in range(MANY)]
    assert 0.93 <= np.mean(held) <= 0.97


@pytest.mark.parametrize("draw", SHAPES.values(), ids=SHAPES)
def test_the_interval_of_a_median_holds_another_runs_in_95_of_100(draw: Draw) -> None:
    rng = np.random.default_rng(2)
    runs = [figure(draw(rng)) for _ in range(MANY)]
    assert 0.94 <= np.mean([holds(one, other.value) for one, other in pairwise(runs)]) <= 0.975


@pytest.mark.parametrize("draw", SHAPES.values(), ids=SHAPES)
def test_the_interval_of_a_ratio_holds_the_true_one_in_95_of_100_runs(draw: Draw) -> None:
    rng = np.random.default_rng(3)
    held = []
    for _ in range(MANY):
        machine = np.exp(rng.normal(size=PASSES))  # what all engines suffer alike
        slow, fast = (factor * machine * np.exp(draw(rng)) for factor in (1.3, 1.0))
        held.append(holds(paired_ratio([[v] for v in slow], [[v] for v in fast]), 1.3))
    assert 0.945 <= np.mean(held) <= 0.975


@pytest.mark.parametrize(("slowdown", "found"), [(1.02, 0.3), (1.05, 0.99)])
def test_a_slowdown_of_five_percent_is_found_where_passes_vary_by_two(slowdown: float, found: float) -> None:
    rng = np.random.default_rng(4)
    draw = SHAPES["normal"]
    ratios = [change(figure(draw(rng)), figure(draw(rng), slowdown)) for _ in range(300)]
    assert np.mean([ratio.low > 1 for ratio in ratios]) >= found
    assert np.median([ratio.high / ratio.low for ratio in ratios]) <= 1.05


@pytest.mark.parametrize(("looks", "tables", "least"), [(3, 400, 0.92), (20, 60, 0.88)])
def test_all_figures_of_a_table_hold_together(looks: int, tables: int, least: float) -> None:
    rng, draw = np.random.default_rng(5), SHAPES["normal"]
    held = [
        all(holds(change(figure(draw(rng)), figure(draw(rng)), looks=looks)) for _ in range(looks))
        for _ in range(tables)
    ]
    assert np.mean(held) >= least


def test_the_ranks_are_counted_as_in_the_tables_of_the_books() -> None:
    """Mann and Whitney: U <= 13 of 8 and 8 at 5 %; Wilcoxon: 3 of 8. So the bounds are the 14th and the 4th value."""
    old, new = (figure(np.log(np.arange(1.0, 9.0) ** power)) for power in (1, 3))
    ratios = sorted(b / a for a, b in product(old.passes, new.passes))
    both = change(old, new)
    assert (both.low, both.high) == (pytest.approx(ratios[13]), pytest.approx(ratios[-14]))
    logs = np.arange(1.0, 9.0) ** 2
    walsh = sorted([*logs, *((a + b) / 2 for a, b in combinations(logs, 2))])
    ratio = paired_ratio([[np.exp(v)] for v in logs], [[1.0]] * PASSES)
    assert (ratio.low, ratio.high) == (pytest.approx(np.exp(walsh[3])), pytest.approx(np.exp(walsh[-4])))


def profile(seed: int, drift: tuple[float, ...], *factors: float) -> tuple[list[Series], float]:
    """Measure engines of 10 ms times a factor on a noisy machine, for 3 to 4 s of its clock; also a yardstick's median.

    The yardstick is other work on the same machine.
    """
    clock = SimulatedClock()
    machine = NoisyMachine(seed, *drift)
    yardstick: list[float] = []

    def beside(batch: int) -> None:
        yardstick.append(0.006 * machine(clock.time))
        clock.sleep(yardstick[-1])

    engines = {f"engine{i}": SimulatedEngine(clock, 0.0, 0.01 * f, machine) for i, f in enumerate(factors)}
    return measure(engines, Schedule((1, 2, 3), 2.0, clock, beside)), float(np.median(yardstick))


def compared(seed: int, drift: tuple[float, ...], factor: float) -> Estimate:
    """Compare two profiles, the second of an engine that takes ``factor`` times as long."""
    old, old_yardstick = profile(2 * seed, drift, 1.0)
    new, new_yardstick = profile(2 * seed + 1, drift, factor)
    return change(typical(old[0].passes), typical(new[0].passes), new_yardstick / old_yardstick)


@pytest.mark.parametrize("drift_seconds", [0.02, 0.5, 5.0, 100.0])
def test_two_profiles_of_one_engine_agree_within_their_intervals_however_the_machine_drifts(
    drift_seconds: float,
) -> None:
    ratios = [compared(seed, (drift_seconds,), 1.0) for seed in range(RUNS)]
    assert sum(map(holds, ratios)) >= 0.95 * RUNS


@pytest.mark.parametrize("drift_seconds", [0.02, 0.5, 5.0, 100.0])
def test_a_slowdown_of_ten_percent_is_told_from_the_noise_and_the_drift(drift_seconds: float) -> None:
    ratios = [compared(seed, (drift_seconds, 0.02), 1.1) for seed in range(RUNS)]
    assert sum(ratio.low > 1 for ratio in ratios) >= 0.95 * RUNS


def test_an_engine_on_a_machine_that_was_slower_as_a_whole_may_have_stayed_the_same_or_not() -> None:
    logs = NOISE * np.linspace(-1, 1, PASSES)
    same, slower = figure(logs), figure(logs, 1.2)
    assert change(same, slower).low > 1
    followed = change(same, slower, drift=1.25)
    assert followed.low < 1 and followed.high == pytest.approx(change(same, slower).high)
    assert change(same, slower, drift=1 / 1.25).high == pytest.approx(1.25 * change(same, slower).high)
    assert change(same, slower, drift=1 / 1.25).low > 1


@pytest.mark.parametrize(("scattered", "least", "most"), [(0.0, 0.0, 0.004), (0.05, 0.035, 0.065)])
def test_how_figures_scatter_between_runs_beyond_their_noise_is_told(
    scattered: float, least: float, most: float
) -> None:
    rng, draw = np.random.default_rng(6), SHAPES["normal"]
    pairs = [(figure(draw(rng)), figure(draw(rng), 1.2 * np.exp(scattered * rng.normal()))) for _ in range(90)]
    pairs[0] = (figure(draw(rng)), figure(draw(rng), 9.0))  # one that did change counts little
    assert least <= excess(pairs) <= most


def test_what_scatters_between_runs_has_to_change_by_more() -> None:
    one, other = figure(NOISE * np.linspace(-1, 1, PASSES)), figure(NOISE * np.linspace(-1, 1, PASSES), 1.1)
    assert change(one, other).low > 1 and not holds(change(one, other))
    assert holds(change(one, other, scatter=0.05))
    assert change(one, other, scatter=0.05).low == pytest.approx(
        change(one, other).low * np.exp(-1.96 * 0.05), rel=1e-4
    )


def test_what_kept_no_passes_is_not_compared() -> None:
    with pytest.raises(ValueError, match="without passes"):
        change(Estimate(1.0, 0.9, 1.1), figure(np.zeros(PASSES)))


@pytest.mark.parametrize("drift_seconds", [0.05, 0.5, 4.0, 40.0])
def test_a_ratio_in_one_run_is_narrow_whatever_the_drift(drift_seconds: float) -> None:
    ratios = []
    for seed in range(RUNS):
        slow, fast = profile(seed, (drift_seconds,), 1.1, 1.0)[0][:2]
        ratios.append(paired_ratio(slow.passes, fast.passes))
    assert sum(holds(ratio, 1.1) for ratio in ratios) >= 0.9 * RUNS
    assert np.median([ratio.high / ratio.low for ratio in ratios]) < 1.05


def test_percentiles_are_those_of_all_samples_in_milliseconds() -> None:
    figures = latency([[0.001 * (i + 8 * j) for i in range(1, 9)] for j in range(16)])
    assert (figures.p50.value, figures.max, figures.samples) == (pytest.approx(64.5), pytest.approx(128.0), 128)
    assert (figures.p90, figures.p99) == (pytest.approx(115.3), pytest.approx(126.73))


def test_a_p99_is_not_claimed_of_few_samples() -> None:
    assert latency([[0.001, 0.002, 0.003]] * 8).p99 is None
