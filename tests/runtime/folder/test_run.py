"""The pipeline with a stand-in for a GPU's session: what only a device that runs out of memory or stalls can show."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fsr_deploy.errors import MissingError, UsageError
from fsr_deploy.images.codec import read_frame, write_frame
from fsr_deploy.runtime.folder.batch_sizes import choose_batch
from fsr_deploy.runtime.folder.jobs import Work, find_work
from fsr_deploy.runtime.folder.run import RunSettings, run
from fsr_deploy.runtime.folder.summary import RunSummary
from fsr_deploy.runtime.session import Batch, EngineInfo, OutOfMemory
from tests.engines import repeat_pixels

INFO = EngineInfo("fake", "cuda:0", "fp32", "0" * 64, (4, 4), (32, 32), best_batch=8, max_batch=16)


class FakeSession:
    """Repeats pixels as the tiny engine does; has room for ``capacity`` faces."""

    def __init__(self, capacity: int = 1000, in_flight: int = 1, before: Callable[[Batch], None] = lambda batch: None):
        self.info = INFO
        self.in_flight = in_flight
        self.capacity = capacity
        self.batches: list[int] = []
        self._before = before

    def upscale(self, batch: Batch) -> Batch:
        self._before(batch)
        if len(batch) > self.capacity:
            raise OutOfMemory(f"{len(batch)} faces want {len(batch)} GiB, {self.capacity} GiB are free")
        self.batches.append(len(batch))
        return repeat_pixels(batch)

    def close(self) -> None:
        pass


@pytest.fixture
def work(tmp_path: Path) -> Work:
    rng = np.random.default_rng(0)
    for index in range(20):
        write_frame(tmp_path / "faces" / f"{index:02}.png", rng.integers(0, 256, (4, 4, 3), np.uint8))
    return find_work(str(tmp_path / "faces"), str(tmp_path / "out"), None)


def assert_all_right(work: Work, summary: RunSummary) -> None:
    assert (summary.done, summary.left, summary.failed) == (len(work.jobs), 0, [])
    for job in work.jobs:
        np.testing.assert_array_equal(read_frame(job.target), repeat_pixels(read_frame(job.source)[None])[0])


@pytest.mark.parametrize("batch", [1, 3, 20])
@pytest.mark.parametrize("in_flight", [1, 2])
def test_every_frame_gets_its_own_face(work: Work, batch: int, in_flight: int):
    session = FakeSession(in_flight=in_flight)
    assert_all_right(work, run(session, work, RunSettings(batch)))
    assert set(session.batches) == {batch}, "a batch that is not full is filled up, so that every face is made alike"


def test_batches_run_at_the_same_time_where_the_session_wants_it(work: Work):
    both = threading.Barrier(2, timeout=60)
    session = FakeSession(in_flight=2, before=lambda batch: both.wait() and None)
    assert_all_right(work, run(session, work, RunSettings(batch=5)))


def test_frames_are_decoded_and_encoded_while_the_engine_runs(work: Work):
    """The engine takes its second batch only once the first is on disk, and decoding is ahead of it."""
    first = work.jobs[0].target

    def wait_for_the_first_output(batch: Batch) -> None:
        deadline = time.monotonic() + 60
        while len(session.batches) == 1 and not first.exists() and time.monotonic() < deadline:
            time.sleep(0.001)
        assert len(session.batches) != 1 or first.exists()

    session = FakeSession(before=wait_for_the_first_output)
    assert_all_right(work, run(session, work, RunSettings(batch=2)))


def test_out_of_memory_halves_the_batch_with_a_notice(work: Work):
    notices: list[str] = []
    session = FakeSession(capacity=3)
    assert_all_right(work, run(session, work, RunSettings(batch=8), notice=notices.append))
    assert notices == [
        "out of memory at batch 8, going on with 4: 8 faces want 8 GiB, 3 GiB are free",
        "out of memory at batch 4, going on with 2: 4 faces want 4 GiB, 3 GiB are free",
    ]
    assert set(session.batches) == {2}


def test_out_of_memory_at_one_face_ends_with_the_figures(work: Work):
    with pytest.raises(MissingError) as caught:
        run(FakeSession(capacity=0), work, RunSettings(batch=4))
    assert str(caught.value) == (
        "not even one face fits into the memory of cuda:0: 1 faces want 1 GiB, 0 GiB are free;"
        " free some or take a smaller model"
    )
    assert caught.value.exit_code == 3


def test_each_face_is_computed_in_a_batch_of_the_size_it_is_noted_with(work: Work):
    """Of a batch of 5 the halves are 2, never 2, 2 and 1."""
    session = FakeSession(capacity=3)
    assert_all_right(work, run(session, work, RunSettings(batch=5)))
    assert set(session.batches) == {2}


def test_batches_that_run_out_of_memory_together_halve_it_once(work: Work):
    together = threading.Barrier(2, timeout=60)
    session = FakeSession(capacity=4, in_flight=2, before=lambda batch: len(batch) == 8 and together.wait() and None)
    notices: list[str] = []
    summary = run(session, work, RunSettings(batch=8), notice=notices.append)
    assert_all_right(work, summary)
    assert len(notices) == 1 and summary.batch == 4


def test_after_running_out_of_memory_the_next_run_goes_on_in_the_smaller_batch(work: Work):
    """Faces that were made before memory ran out stay."""
    memory = iter([16, 16, *[3] * 100])
    stop = threading.Event()

    def shrink(batch: Batch) -> None:
        session.capacity = next(memory)
        if session.batches.count(2) == 1:
            stop.set()

    session = FakeSession(before=shrink)
    first = run(session, work, RunSettings(batch=4, stop=stop))
    assert session.batches[:2] == [4, 4] and set(session.batches[2:]) == {2}
    assert first.left > 0 and first.batch == 2
    notices: list[str] = []
    session = FakeSession()
    second = run(session, work, RunSettings(batch=4), notice=notices.append)
    assert set(session.batches) == {2}
    assert (second.already_done, second.done, second.batch) == (first.done, first.left, 2)
    assert notices == ["batch 2: an earlier run ran out of memory; --no-resume does all again at 4"]


def test_without_resuming_the_batch_that_was_asked_for_is_tried_again_and_stays(work: Work):
    run(FakeSession(capacity=3), work, RunSettings(batch=4))
    for resume, done in ((False, 20), (True, 0)):
        session = FakeSession()
        summary = run(session, work, RunSettings(batch=4, resume=resume))
        assert (summary.done, summary.batch, set(session.batches) - {4}) == (done, 4, set())


def test_another_batch_device_or_library_makes_the_faces_again(work: Work):
    run(FakeSession(), work, RunSettings(batch=4))
    assert run(FakeSession(), work, RunSettings(batch=4)).already_done == 20
    assert run(FakeSession(), work, RunSettings(batch=2)).done == 20
    for change in ({"device": "cpu"}, {"engine": "fake 2"}, {"sha256": "1" * 64}):
        session = FakeSession()
        session.info = replace(INFO, **change)
        assert run(session, work, RunSettings(batch=2)).done == 20
        assert run(session, work, RunSettings(batch=2)).already_done == 20


def test_a_run_from_another_thread_reports_as_one_from_the_main_thread(work: Work):
    with ThreadPoolExecutor(1) as pool:
        assert_all_right(work, pool.submit(run, FakeSession(), work, RunSettings(batch=4)).result())


def test_an_engine_that_fails_ends_the_run_and_what_was_done_stays(work: Work):
    def fail_at_the_third(batch: Batch) -> None:
        if len(session.batches) == 2:
            raise RuntimeError("the engine broke")

    session = FakeSession(before=fail_at_the_third)
    with pytest.raises(RuntimeError, match="the engine broke"):
        run(session, work, RunSettings(batch=2))
    assert run(FakeSession(), work, RunSettings(batch=2)).already_done >= 2


def test_once_stopped_the_batch_is_finished_and_the_rest_is_left_for_the_next_run(work: Work):
    stop = threading.Event()
    session = FakeSession(before=lambda batch: stop.set())
    summary = run(session, work, RunSettings(batch=4, stop=stop))
    assert (summary.done, summary.left, session.batches) == (4, 16, [4])
    summary = run(FakeSession(), work, RunSettings(batch=4))
    assert (summary.done, summary.already_done) == (16, 4)


def test_progress_is_told_once_for_each_frame(work: Work):
    work.jobs[3].source.write_bytes(b"")
    steps: list[int] = []
    for _ in range(2):
        run(FakeSession(), work, RunSettings(batch=4), advance=steps.append)
    assert steps == [1] * 40


def test_the_report_names_the_stage_that_limits(work: Work):
    summary = run(FakeSession(before=lambda batch: time.sleep(0.1)), work, RunSettings(batch=2))
    assert summary.stages is not None
    assert summary.stages.bottleneck == "engine"
    assert 0 < summary.stages.efficiency <= 1
    assert set(summary.stages.stages) == {"decode", "engine", "encode"}


@pytest.mark.parametrize(("wanted", "frames", "batch"), [(None, 100, 8), (None, 3, 3), (16, 100, 16), (5, 2, 2)])
def test_the_batch_suits_the_engine_and_the_frames(wanted: int | None, frames: int, batch: int):
    assert choose_batch(INFO, wanted, frames) == batch


def test_a_batch_that_the_engine_does_not_take_is_refused():
    with pytest.raises(UsageError, match="--batch 17: this engine takes at most 16"):
        choose_batch(INFO, 17, 100)
