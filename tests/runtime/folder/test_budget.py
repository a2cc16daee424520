import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from fsr_deploy.images.codec import decode_frame, decoding_bytes, frame_header, write_frame
from fsr_deploy.runtime.folder import steps
from fsr_deploy.runtime.folder.budget import ByteBudget
from fsr_deploy.runtime.folder.jobs import Job
from fsr_deploy.runtime.folder.steps import Load, Loaded
from fsr_deploy.runtime.session import EngineInfo

INFO = EngineInfo("fake", "cpu", "fp32", "0" * 64, (4, 4), (32, 32), best_batch=1)


class Meter:
    """The most that was held at a time, and in how many parts."""

    def __init__(self) -> None:
        self.most, self.parts, self._now = 0, 0, []
        self._lock = threading.Lock()

    def come(self, count: int) -> None:
        with self._lock:
            self._now.append(count)
            if sum(self._now) > self.most:
                self.most, self.parts = sum(self._now), len(self._now)

    def go(self, count: int) -> None:
        with self._lock:
            self._now.remove(count)


def hold(counts: list[int]) -> Meter:
    """Let eight threads hold so many MiB of a hundred, each for a moment."""
    budget, meter = ByteBudget(100 << 20), Meter()

    def work(count: int) -> None:
        with budget.hold(count << 20):
            meter.come(count)
            time.sleep(0.001)
            meter.go(count)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, counts))
    return meter


def test_all_threads_together_hold_no_more_than_the_budget():
    meter = hold([30, 40, 10, 60] * 25)
    assert 60 <= meter.most <= 100


def test_threads_that_fit_into_the_budget_hold_it_at_the_same_time():
    budget, together = ByteBudget(100 << 20), threading.Barrier(2, timeout=60)

    def work(count: int) -> int:
        with budget.hold(count << 20):
            return together.wait()

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(work, [60, 40])) == [0, 1]


def test_what_is_larger_than_the_budget_is_held_alone():
    meter = hold([500, 20, 30] * 10)
    assert (meter.most, meter.parts) == (500, 1)


def test_little_is_not_waited_for():
    budget = ByteBudget(1)
    with budget.hold(1 << 30), budget.hold(1000):
        pass


def test_a_failure_gives_back_what_it_held():
    budget = ByteBudget(1)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), budget.hold(1 << 30):
            1 / 0  # noqa: B018


@pytest.mark.parametrize(("pictures", "together"), [(1, 1), (3, 3)])
def test_pictures_are_decoded_side_by_side_as_far_as_the_budget_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pictures: int, together: int
):
    paths = [tmp_path / f"{index}.png" for index in range(12)]
    for path in paths:
        write_frame(path, np.zeros((500, 400, 3), np.uint8))
    room = decoding_bytes(frame_header(paths[0].read_bytes(), "f")) * pictures
    meter, all_there = Meter(), threading.Barrier(together, timeout=60)

    def slow_decode(*arguments, **options):
        meter.come(1)
        all_there.wait()
        time.sleep(0.02)
        meter.go(1)
        return decode_frame(*arguments, **options)

    monkeypatch.setattr(steps, "decode_frame", slow_decode)
    load = Load(INFO, None, "", [1], decoding=ByteBudget(room))
    with ThreadPoolExecutor(6) as pool:
        outcomes = list(pool.map(load, [Job(path, tmp_path / "out.png") for path in paths]))
    assert all(isinstance(outcome, Loaded) for outcome in outcomes)
    assert meter.most == together


def test_a_loaded_face_does_not_keep_its_frame(tmp_path: Path):
    write_frame(tmp_path / "tall.png", np.zeros((4000, 4, 3), np.uint8))
    outcome = Load(INFO, None, "", [1])(Job(tmp_path / "tall.png", tmp_path / "out.png"))
    assert isinstance(outcome, Loaded) and outcome.faces[0].base is None and outcome.faces[0].nbytes == 48
