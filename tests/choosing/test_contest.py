"""Which engine wins, and which leaves early, on a machine of which the tests know everything."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import pytest

from fsr_deploy.choosing.contest import AT_A_TIME, FEWEST, Crowd, hold
from fsr_deploy.profiling.statistics import PASSES
from fsr_deploy.runtime.session import Batch, Session
from tests.runtime.machines import NoisyMachine, SimulatedClock, SimulatedEngine

Times = dict[str, float]


def contest(times: Times, slowdown: Callable[[float], float] = lambda now: 1.0) -> tuple[dict[str, int], str]:
    """Return how many passes engines of these seconds ran, and the winner."""
    clock = SimulatedClock()
    sessions: dict[str, Session] = {
        name: SimulatedEngine(clock, start=seconds, per_face=0.0, slowdown=slowdown) for name, seconds in times.items()
    }
    found, best = hold(sessions, 1, clock=clock)
    return {name: one.passes for name, one in found.items()}, best


@pytest.mark.parametrize("slowdown", [lambda now: 1.0, NoisyMachine(3, 2.0)], ids=["quiet", "noisy"])
def test_the_fastest_wins_and_what_cannot_win_leaves_early(slowdown: Callable[[float], float]) -> None:
    passes, best = contest({"slow": 0.05, "best": 0.02, "slower": 0.03}, slowdown)
    assert best == "best"
    assert passes["best"] == PASSES
    assert FEWEST <= passes["slow"] < PASSES and FEWEST <= passes["slower"] < PASSES


def test_of_engines_that_may_be_as_fast_the_first_one_wins_and_both_stay() -> None:
    for order in (["closer", "other"], ["other", "closer"]):
        times = dict.fromkeys(order, 0.02)
        passes, best = contest(times, NoisyMachine(5, 2.0))
        assert best == order[0]
        assert set(passes.values()) == {PASSES}


def test_a_slower_one_does_not_win_by_being_first() -> None:
    assert contest({"closer": 0.0215, "faster": 0.02}, NoisyMachine(7, 2.0))[1] == "faster"


def test_an_engine_alone_wins() -> None:
    assert contest({"only": 0.02}) == ({"only": PASSES}, "only")


class Streams(SimulatedEngine):
    """An engine that takes three batches of four faces at the same time, and notes how many there were."""

    in_flight = 3

    def __init__(self) -> None:
        super().__init__(SimulatedClock())
        self.together = threading.Barrier(self.in_flight)

    def upscale(self, batch: Batch) -> Batch:
        self.together.wait(timeout=60)  # fails unless so many batches run at the same time
        return super().upscale(batch)


def test_for_throughput_all_streams_are_busy_and_faces_keep_their_order() -> None:
    engine = Streams()
    crowd = Crowd(engine)
    assert crowd.faces == AT_A_TIME * 3 * 4
    batch = np.random.default_rng(0).integers(0, 256, (crowd.faces, 2, 2, 3), np.uint8)
    assert np.array_equal(crowd.upscale(batch), batch.repeat(2, axis=1).repeat(2, axis=2))
    assert engine.runs == [4] * AT_A_TIME * 3
    crowd.close()
