"""Faces decoded and encoded in processes: the same files as with threads, whatever happens on the way."""

from __future__ import annotations

import errno
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from fsr_deploy._util.files import CannotWrite
from fsr_deploy.errors import MissingError
from fsr_deploy.images.codec import write_frame
from fsr_deploy.runtime.folder import codec_process, processes
from fsr_deploy.runtime.folder.jobs import Work, find_work
from fsr_deploy.runtime.folder.processes import processes_for
from fsr_deploy.runtime.folder.run import RunSettings, run
from fsr_deploy.runtime.folder.steps import Load
from tests.runtime.folder.test_run import INFO, FakeSession, assert_all_right

FACES = 70
THREADS = "threads decode and encode, slower than processes, which cannot be had here: "


@pytest.fixture
def work(tmp_path: Path) -> Work:
    rng = np.random.default_rng(0)
    for index in range(FACES):
        write_frame(tmp_path / "faces" / f"{index:02}.png", rng.integers(0, 256, (4, 4, 3), np.uint8))
    return find_work(str(tmp_path / "faces"), str(tmp_path / "out"), None)


def settings(**changes: object) -> RunSettings:
    return replace(RunSettings(batch=8, processes=2), **changes)  # type: ignore[arg-type]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if not path.name.startswith(".")}


def parts(folder: Path) -> list[Path]:
    return list(folder.glob(".*.part"))


def test_the_same_files_as_with_threads_and_either_goes_on_with_the_others_run(work: Work, tmp_path: Path) -> None:
    work.jobs[5].source.write_bytes(b"no picture")
    with_threads = find_work(str(tmp_path / "faces"), str(tmp_path / "threads"), None)
    expected = run(FakeSession(), with_threads, RunSettings(batch=8))
    summary = run(FakeSession(), work, settings())
    assert (summary.done, summary.failed) == (expected.done, expected.failed) == (FACES - 1, expected.failed)
    assert contents(tmp_path / "out") == contents(tmp_path / "threads") and not parts(tmp_path / "out")
    assert summary.stages is not None and set(summary.stages.stages) == {"decode", "engine", "encode"}
    assert run(FakeSession(), work, RunSettings(batch=8)).already_done == FACES - 1
    assert run(FakeSession(), with_threads, settings()).already_done == FACES - 1


def test_a_run_that_is_stopped_leaves_nothing_half_done_and_is_gone_on_with(work: Work, tmp_path: Path) -> None:
    stop = threading.Event()
    first = run(FakeSession(before=lambda batch: stop.set()), work, settings(stop=stop))
    assert 0 < first.done < FACES and not parts(tmp_path / "out")
    second = run(FakeSession(), work, settings())
    assert (second.already_done, second.done) == (first.done, FACES - first.done)


def test_pictures_that_are_too_large_for_a_process_are_decoded_by_the_run_itself(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(codec_process, "BYTES_AT_ONCE", 2)
    assert_all_right(work, run(FakeSession(), work, settings()))


def test_a_file_that_appears_at_an_outputs_place_is_kept(work: Work, tmp_path: Path) -> None:
    foreign = work.jobs[-1].target

    def appears(batch: object) -> None:
        foreign.write_bytes(b"mine")

    summary = run(FakeSession(before=appears), work, settings())
    assert (summary.done, [failed.source for failed in summary.failed]) == (FACES - 1, [work.jobs[-1].source])
    assert foreign.read_bytes() == b"mine" and not parts(tmp_path / "out")


def test_a_process_that_is_ended_from_outside_ends_the_run_in_one_sentence_and_the_next_goes_on(
    work: Work, tmp_path: Path
) -> None:
    def kill(batch: object) -> None:
        with suppress(psutil.Error):  # the second batch finds them gone
            for child in psutil.Process().children():
                if "spawn_main" in " ".join(child.cmdline()):
                    child.kill()

    with pytest.raises(MissingError, match=r"ended from outside.*the same command goes on"):
        run(FakeSession(before=kill), work, settings())
    assert not parts(tmp_path / "out")
    summary = run(FakeSession(), work, settings())
    assert summary.done + summary.already_done == FACES


@pytest.mark.parametrize("error", [ImportError, NotImplementedError, OSError])
def test_where_processes_cannot_be_had_threads_do_it_and_one_line_says_so(
    work: Work, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def no_processes(*arguments: object) -> None:
        raise error("no processes here")

    monkeypatch.setattr(processes.multiprocessing, "get_context", no_processes)
    notices: list[str] = []
    assert_all_right(work, run(FakeSession(), work, settings(), notice=notices.append))
    assert notices == [f"{THREADS}no processes here"]


def test_no_process_is_left_where_only_some_can_be_begun(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    popen, begun = processes.multiprocessing.get_context("spawn").Process._Popen, []

    def only_one(process: object) -> object:
        if begun:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        begun.append(popen(process))
        return begun[-1]

    monkeypatch.setattr(processes.multiprocessing.get_context("spawn").Process, "_Popen", staticmethod(only_one))
    notices: list[str] = []
    assert_all_right(work, run(FakeSession(), work, settings(), notice=notices.append))
    assert notices == [f"{THREADS}[Errno {errno.EAGAIN}] {os.strerror(errno.EAGAIN)}"]
    assert begun[0].poll() is not None


SCRIPT = """
import os, signal, sys
import psutil
from fsr_deploy.runtime.folder.jobs import find_work
from fsr_deploy.runtime.folder.run import RunSettings, run
from tests.runtime.folder.test_run import FakeSession

def end(batch):
    print(*(child.pid for child in psutil.Process().children()), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    run(FakeSession(before=end), find_work(sys.argv[1], sys.argv[2], None), RunSettings(batch=8, processes=2))
"""


def test_processes_end_with_the_run_that_is_killed(work: Work, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, str(tmp_path / "script.py"), str(tmp_path / "faces"), str(tmp_path / "out")]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert done.returncode == -signal.SIGKILL
    pids = [int(word) for word in done.stdout.split()]
    assert len(pids) >= 2
    wait_for(lambda: not any(psutil.pid_exists(pid) for pid in pids))
    assert_all_right(work, run(FakeSession(), work, settings(resume=False)))
    assert not parts(tmp_path / "out")


def test_what_a_process_raises_is_raised_here_and_the_process_goes_on() -> None:
    asking = processes.CodecProcesses(1, Load(INFO, None, "", [1]), 8)
    try:
        with pytest.raises(ValueError, match="no number"):
            asking._ask(int, "no number")
        assert asking._ask(int, "7") == 7
    finally:
        asking.close()


def test_an_error_comes_whole_from_another_process() -> None:
    error = pickle.loads(pickle.dumps(CannotWrite("face.png: cannot be written: No space left", errno.ENOSPC)))
    assert (type(error), str(error), error.number) == (
        *(CannotWrite, "face.png: cannot be written: No space left", errno.ENOSPC),
    )


@pytest.mark.parametrize(
    ("faces", "cores", "expected"),
    [(10**6, 1, 0), (3999, 2, 0), (4000, 2, 2), (599, 3, 0), (600, 3, 3), (100, 16, 0), (3200, 16, 16)],
)
def test_processes_are_begun_where_they_pay(faces: int, cores: int, expected: int) -> None:
    assert processes_for(faces, cores, (128, 128)) == expected


def test_large_faces_are_not_kept_in_shared_memory() -> None:
    assert (processes_for(100_000, 16, (512, 512)), processes_for(100_000, 16, (4096, 4096))) == (16, 0)


def wait_for(condition: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)
