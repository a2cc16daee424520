"""What the system says of an output: of that one alone, or of all of them."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from fsr_deploy.errors import InputError
from fsr_deploy.images.codec import write_frame
from fsr_deploy.runtime.folder.jobs import Work, find_work
from fsr_deploy.runtime.folder.run import RunSettings, run
from fsr_deploy.runtime.session import Batch
from tests.runtime.folder.test_run import FakeSession


@pytest.fixture
def work(tmp_path: Path) -> Work:
    for index in range(6):
        write_frame(tmp_path / "faces" / f"{index}.png", np.full((4, 4, 3), index, np.uint8))
    return find_work(str(tmp_path / "faces"), str(tmp_path / "out"), None)


def fail_at(name: str, code: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Let the system refuse to put one file into its place; returns what it says."""
    number = getattr(errno, code)
    original = os.replace

    def replaced(path: str | Path, target: str | Path) -> None:
        if Path(target).name == name:
            raise OSError(number, os.strerror(number), str(target))
        original(path, target)

    monkeypatch.setattr(os, "replace", replaced)
    return os.strerror(number)


@pytest.mark.parametrize(
    "code", ["EINVAL", "EILSEQ", "ENAMETOOLONG", "EISDIR", "ENOTDIR", "ELOOP", "EBUSY", "EACCES", "EPERM", "ENOENT"]
)
def test_what_is_about_one_output_costs_that_one(work: Work, monkeypatch: pytest.MonkeyPatch, code: str):
    words = fail_at("3.png", code, monkeypatch)
    notices: list[str] = []
    summary = run(FakeSession(), work, RunSettings(batch=2), notice=notices.append)
    assert (summary.done, summary.left) == (5, 0)
    assert [(failed.source, failed.reason) for failed in summary.failed] == [
        (work.jobs[3].source, f"{work.jobs[3].target}: cannot be written: {words}")
    ]
    assert notices == [f"skipped: {work.jobs[3].target}: cannot be written: {words}"]
    assert not list(work.folder.glob("*.part"))


@pytest.mark.parametrize("code", ["ENOSPC", "EDQUOT", "EROFS", "EIO", "EFBIG", "ENODEV", "ESTALE"])
def test_what_is_about_the_disk_ends_the_run_and_the_next_goes_on(
    work: Work, monkeypatch: pytest.MonkeyPatch, code: str
):
    with monkeypatch.context() as broken:
        words = fail_at("3.png", code, broken)
        with pytest.raises(InputError, match=rf"3\.png: cannot be written: {words}"):
            run(FakeSession(), work, RunSettings(batch=2))
    assert not list(work.folder.glob(".*.part"))
    summary = run(FakeSession(), work, RunSettings(batch=2))
    assert summary.failed == [] and summary.done + summary.already_done == 6 and summary.already_done >= 2


def test_with_on_error_stop_one_output_ends_the_run_too(work: Work, monkeypatch: pytest.MonkeyPatch):
    fail_at("3.png", "EINVAL", monkeypatch)
    with pytest.raises(InputError, match=r"3\.png: cannot be written: Invalid argument \(leave out --on-error stop"):
        run(FakeSession(), work, RunSettings(batch=2, skip_failures=False))


def test_the_only_output_ends_the_run_whatever_the_reason(work: Work, monkeypatch: pytest.MonkeyPatch):
    single = find_work(str(work.jobs[0].source), str(work.folder / "a.png"), None)
    fail_at("a.png", "EINVAL", monkeypatch)
    with pytest.raises(InputError, match=r"a\.png: cannot be written: Invalid argument"):
        run(FakeSession(), single, RunSettings(batch=1))


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_file_that_appears_during_the_run_is_left_alone_unless_asked_for(work: Work, overwrite: bool):
    """A user's, or another frame's output on a file system that ignores upper and lower case."""
    target = work.jobs[3].target

    def appear(batch: Batch) -> None:
        if not session.batches:
            target.write_bytes(b"mine")

    session = FakeSession(before=appear)
    summary = run(session, work, RunSettings(batch=2, overwrite=overwrite))
    assert (target.read_bytes() == b"mine") is not overwrite
    reason = f"{target}: was made by something else during this run and is not replaced"
    assert [failed.reason for failed in summary.failed] == ([] if overwrite else [reason])


def test_outputs_are_not_flushed_one_by_one(work: Work, monkeypatch: pytest.MonkeyPatch):
    """After a power cut the journal's hashes tell which are whole; flushing each costs most of the time."""
    monkeypatch.setattr(os, "fsync", lambda handle: pytest.fail("flushed"))
    assert run(FakeSession(), work, RunSettings(batch=2)).done == 6
