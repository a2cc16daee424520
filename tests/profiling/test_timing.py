import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from fsr_deploy.errors import InputError, ParityError
from fsr_deploy.profiling.rounds import Schedule, measure
from fsr_deploy.profiling.statistics import PASSES
from fsr_deploy.profiling.timing import MonotonicClock, Stopwatch, warm_up
from fsr_deploy.runtime.session import Batch, OutOfMemory
from tests.runtime.machines import SimulatedClock, SimulatedEngine

WORK_SECONDS = 0.02


class LateEngine(SimulatedEngine):
    """Returns at once and does the work in a thread: a missing synchronisation."""

    def __init__(self) -> None:
        super().__init__(SimulatedClock())
        self._buffers = [np.zeros((64, 4, 4, 3), np.uint8) for _ in range(2)]

    def upscale(self, batch: Batch) -> Batch:
        result = self._result(len(batch))
        threading.Thread(target=self._finish, args=(batch.copy(), result)).start()
        return self._handed_out(result)

    def _result(self, count: int) -> Batch:
        return np.zeros((count, 4, 4, 3), np.uint8)

    def _handed_out(self, result: Batch) -> Batch:
        return result

    def _finish(self, batch: Batch, result: Batch) -> None:
        time.sleep(WORK_SECONDS)
        result[...] = batch.repeat(2, axis=1).repeat(2, axis=2)


class LateEngineWithReusedBuffers(LateEngine):
    """Hands out the same buffers again and again, so that an older result is in them."""

    def _result(self, count: int) -> Batch:
        self._buffers.reverse()
        return self._buffers[0][:count]


class EngineThatCopiesTooEarly(LateEngineWithReusedBuffers):
    """Hands out copies of a buffer that the work has not reached yet."""

    def _handed_out(self, result: Batch) -> Batch:
        return result.copy()


@pytest.mark.parametrize("engine", [LateEngine, LateEngineWithReusedBuffers, EngineThatCopiesTooEarly])
def test_an_asynchronous_engine_does_not_fool_the_timer(engine: type[LateEngine]) -> None:
    with pytest.raises(ParityError, match=r"before its result was complete|same result for different"):
        watch = Stopwatch(engine(), 2, MonotonicClock())
        for _ in range(30):
            watch.sample()


def test_work_that_ends_while_the_result_is_read_is_timed() -> None:
    clock = SimulatedClock()

    class Lazy(np.ndarray):
        """A result that is computed when somebody looks at it."""

        def reshape(self, *shape: int) -> np.ndarray:
            clock.time += 0.5
            return np.asarray(self).reshape(*shape)

    class LazyEngine(SimulatedEngine):
        def upscale(self, batch: Batch) -> Batch:
            return super().upscale(batch).view(Lazy)

    assert Stopwatch(LazyEngine(clock), 1, clock).sample() == pytest.approx(0.503)


def test_an_engine_that_ignores_its_input_is_refused() -> None:
    class Constant(SimulatedEngine):
        def upscale(self, batch: Batch) -> Batch:
            return np.zeros((len(batch), 4, 4, 3), np.uint8)

    with pytest.raises(ParityError, match="the same result for different faces"):
        Stopwatch(Constant(SimulatedClock()), 1, SimulatedClock())


def test_an_engine_that_is_off_by_one_level_now_and_then_is_timed() -> None:
    class Wavering(SimulatedEngine):
        def upscale(self, batch: Batch) -> Batch:
            result = super().upscale(batch)
            result[result == 100 + len(self.runs) % 2] += 1
            return result

    clock = SimulatedClock()
    assert Stopwatch(Wavering(clock), 4, clock).sample() == pytest.approx(0.006)


@pytest.mark.parametrize(
    ("times", "runs", "stable"),
    [
        ([0.01] * 20, 6, True),
        ([0.09, 0.05, 0.03, 0.02] + [0.01] * 20, 10, True),
        ([0.01, 0.00999, 0.00998] + [0.05] * 20, 6, True),
        ([0.02 * 0.97**i for i in range(200)], 50, False),
        ([1.0] * 20, 3, True),
        ([3.0, 2.0, 1.0, 0.99, 0.98], 5, True),
        ([0.2] * 20, 4, True),
    ],
    ids=[
        "steady",
        "getting faster",
        "disturbed",
        "still getting faster when time is up",
        "slow and steady",
        "slow and getting faster",
        "not quite as slow",
    ],
)
def test_warm_up_lasts_until_runs_get_no_faster(times: list[float], runs: int, stable: bool) -> None:
    clock, left = SimulatedClock(), iter(times)

    def sample() -> float:
        seconds = next(left)
        clock.sleep(seconds)
        return seconds

    limit = sum(times[:50]) - 1e-6 if not stable else 1000.0
    warmed = warm_up(sample, clock, limit)
    assert (warmed.runs, warmed.stable) == (runs, stable)
    assert warmed.fastest == min(times[:runs])


@pytest.mark.parametrize(
    ("per_face", "slowdown"),
    [(0.0005, 1.0), (0.02, 1.0), (0.15, 1.0), (0.6, 1.0), (0.02, 1.6), (0.05, 1.6)],
    ids=["fast", "usual", "slow", "very slow", "slower than in the warm-up", "so too, few rounds a pass"],
)
def test_a_run_takes_as_long_as_was_said(per_face: float, slowdown: float) -> None:
    clock, lines = SimulatedClock(), []
    machine = {"factor": 1.0}
    engines = {name: SimulatedEngine(clock, 0.0, per_face, lambda now: machine["factor"]) for name in "abcd"}

    def say(line: str) -> None:
        lines.append((line, clock.time))
        machine["factor"] = slowdown

    series = measure(engines, Schedule((1, 4), 5.0, clock, say=say, beside=lambda batch: clock.sleep(0.01)))
    (line, warmed), took = lines[0], clock.time - lines[0][1]
    said = re.fullmatch(r"warmed up in \S+ s; measuring takes about (\S+) s", line)
    assert said and warmed < 5.0 * len(series)
    assert took == pytest.approx(float(said[1]), rel=0.15)


def test_progress_counts_warm_ups_and_visits() -> None:
    counts: dict[str, list[int]] = {}

    @contextmanager
    def progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
        counts[what] = [total]
        yield counts[what].append

    clock = SimulatedClock()
    measure(
        {"a": SimulatedEngine(clock), "b": SimulatedEngine(clock)}, Schedule((1, 2, 4), 1.0, clock, progress=progress)
    )
    assert counts == {"warming up": [6, *[1] * 6], "measuring": [3 * PASSES, *[1] * 3 * PASSES]}


def test_engines_take_turns_in_rounds_that_pair_their_samples() -> None:
    clock = SimulatedClock()
    engines = {"slow": SimulatedEngine(clock, per_face=0.02), "fast": SimulatedEngine(clock, per_face=0.01)}
    series = {(one.engine, one.batch): one for one in measure(engines, Schedule((4, 1), 2.0, clock))}
    assert sorted(series) == [("fast", 1), ("fast", 4), ("slow", 1), ("slow", 4)]
    for batch in (1, 4):
        slow, fast = series["slow", batch].passes, series["fast", batch].passes
        assert [len(part) for part in slow] == [len(part) for part in fast]
        assert np.concatenate(slow) == pytest.approx(0.002 + 0.02 * batch)
        assert np.concatenate(fast) == pytest.approx(0.002 + 0.01 * batch)


def test_a_batch_that_an_engine_cannot_run_is_left_out_with_the_reason() -> None:
    clock, lines = SimulatedClock(), []

    class Small(SimulatedEngine):
        def upscale(self, batch: Batch) -> Batch:
            if len(batch) > 2:
                raise OutOfMemory("no room for 4 faces")
            return super().upscale(batch)

    engines = {
        "fixed": SimulatedEngine(clock, max_batch=1),
        "small": Small(clock),
        "slow": SimulatedEngine(clock, per_face=0.3),
    }
    series = measure(engines, Schedule((1, 2, 4, 8), 6.0, clock, notice=lines.append))
    assert {one.engine: [o.batch for o in series if o.engine == one.engine] for one in series} == {
        "fixed": [1],
        "small": [1, 2],
        "slow": [1, 2],
    }
    assert lines == [
        "batch 2 and larger left out for fixed: it takes at most 1",
        "batch 4 and larger left out for small: no room for 4 faces",
        "batch 4 and larger left out for slow: a run would take about 1.2 s; --seconds 11 would measure it",
    ]


def test_batches_that_no_engine_takes_are_an_error() -> None:
    clock = SimulatedClock()
    with pytest.raises(InputError, match="--batches"):
        measure({"fixed": SimulatedEngine(clock, max_batch=1)}, Schedule((8,), 1.0, clock))
