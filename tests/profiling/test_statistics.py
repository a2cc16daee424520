import numpy as np
import pytest

from fsr_deploy.profiling.rounds import Schedule, Series, measure
from fsr_deploy.profiling.statistics import Estimate, change, latency, paired_ratio, typical
from tests.runtime.machines import NoisyMachine, SimulatedClock, SimulatedEngine

RUNS = 40


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
def test_two_profiles_of_one_engine_agree_within_their_intervals(drift_seconds: float) -> None:
    ratios = [compared(seed, (drift_seconds,), 1.0) for seed in range(RUNS)]
    assert sum(ratio.low <= 1 <= ratio.high for ratio in ratios) >= 0.95 * RUNS


@pytest.mark.parametrize("drift_seconds", [0.02, 0.5, 100.0])
def test_a_slowdown_of_ten_percent_is_told_from_the_noise(drift_seconds: float) -> None:
    ratios = [compared(seed, (drift_seconds, 0.02), 1.1) for seed in range(RUNS)]
    assert sum(ratio.low > 1 for ratio in ratios) >= 0.9 * RUNS


def test_a_machine_that_was_slower_as_a_whole_widens_the_comparison() -> None:
    figure = typical([[1.0, 1.01, 0.99]] * 8)
    slower = typical([[1.2, 1.21, 1.19]] * 8)
    assert change(figure, slower).low > 1
    assert change(figure, slower, drift=1.25).low < 1 < change(figure, slower, drift=1.25).high


@pytest.mark.parametrize("drift_seconds", [0.05, 0.5, 4.0, 40.0])
def test_the_interval_of_a_ratio_holds_the_true_one_whatever_the_drift(drift_seconds: float) -> None:
    held, widths = 0, []
    for seed in range(RUNS):
        slow, fast = profile(seed, (drift_seconds,), 1.1, 1.0)[0][:2]
        ratio = paired_ratio(np.concatenate(slow.passes), np.concatenate(fast.passes))
        held += ratio.low <= 1.1 <= ratio.high
        widths.append(ratio.high / ratio.low)
    assert held >= 0.85 * RUNS
    assert np.median(widths) < 1.05


def test_percentiles_are_those_of_all_samples_in_milliseconds() -> None:
    figures = latency([[0.001 * (i + 8 * j) for i in range(1, 9)] for j in range(16)])
    assert (figures.p50.value, figures.max, figures.samples) == (pytest.approx(64.5), pytest.approx(128.0), 128)
    assert (figures.p90, figures.p99) == (pytest.approx(115.3), pytest.approx(126.73))


def test_a_p99_is_not_claimed_of_few_samples() -> None:
    assert latency([[0.001, 0.002, 0.003]] * 8).p99 is None
