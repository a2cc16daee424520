"""Driver and workers in one process: the files, the journal and the counts are those of a run on one machine."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import pytest

from fsr_deploy._util.console import on_terminal
from fsr_deploy._util.files import part_of
from fsr_deploy.cluster import worker as worker_module
from fsr_deploy.cluster.messages import DONE_BEFORE, FAILED, WRITTEN, ErrorData, Facts, Orders, Outcome
from fsr_deploy.cluster.results import Results
from fsr_deploy.cluster.worker import Worker, fault, look
from fsr_deploy.errors import DeviceError, InputError, MissingError, UsageError
from fsr_deploy.runtime.folder.journal import NAME as JOURNAL
from fsr_deploy.runtime.folder.journal import Journal
from fsr_deploy.runtime.folder.outputs import look_at
from fsr_deploy.runtime.folder.tally import Tally, new_summary
from fsr_deploy.runtime.folder.task import FaceTask
from fsr_deploy.runtime.folder.upscale import RunOptions
from fsr_deploy.runtime.session import OutOfMemory
from tests.cli.runs import COUNT, contents, here, succeed

__all__ = ["here"]


class Cluster:
    """A run over ``faces`` into a folder, with as many workers as are asked for, all in this process."""

    def __init__(self, folder: Path, output: str = "out", batch: int = 1, **options: Any) -> None:
        self.options = RunOptions(batch=batch, **options)
        self.work = self.options.find("faces", output)
        assert self.work.folder is not None
        self.folder = self.work.folder
        engine = str(folder / "model.onnx")
        self.orders = Orders(engine, "cpu", None, False, 1, "crop", str(self.folder.absolute()), batch, COUNT)
        self.facts = look(self.orders)
        self.journal = Journal(self.folder)
        self.said: list[str] = []
        taken = look_at([job.target for job in self.work.jobs], self.journal).taken
        summary = new_summary(self.facts.info, self.work, FaceTask(), batch)
        tally = Tally(summary, self.options.on_error == "skip", lambda count: None, self.said.append)
        made = self.facts.made_with
        self.results = Results(self.work, self.folder, self.journal, taken, made, batch, [batch], tally)

    def worker(self) -> Worker:
        return Worker(self.orders, self.facts, [self.orders.asked or 1])

    def outcomes(self, numbers: Sequence[int] | None = None) -> list[Outcome]:
        """Return what a worker makes of some of the files, without putting it in place."""
        given = list(self.results.given(range(len(self.work.jobs)) if numbers is None else numbers))
        return self.worker().upscale(given)

    def states(self) -> list[str]:
        return [row.status for row in self.results.all_rows()]

    def counts(self) -> tuple[int, int, int]:
        summary = self.results.tally.summary
        return summary.done, summary.already_done, len(summary.failed)


@pytest.fixture
def cluster(here: Path) -> Callable[..., Cluster]:
    return lambda *arguments, **options: Cluster(here, *arguments, **options)


def journal(folder: str) -> list[str]:
    return sorted(Path(folder, JOURNAL).read_text().splitlines())


@pytest.mark.parametrize("batch", [1, 5])
def test_outputs_and_journal_are_those_of_one_machine(cluster: Callable[..., Cluster], batch: int) -> None:
    succeed("model.onnx", "faces", "-o", "one", "--batch", batch)
    run = cluster(batch=batch)
    run.results.take([run.outcomes(range(5)), run.outcomes(range(5, COUNT))])
    run.journal.close()
    assert contents("out") == contents("one")
    assert journal("out") == journal("one")
    assert run.counts() == (COUNT, 0, 0)


def test_one_machine_goes_on_where_a_cluster_ended_and_the_other_way_round(cluster: Callable[..., Cluster]) -> None:
    run = cluster()
    run.results.take([run.outcomes(range(5))])
    run.journal.close()
    assert "7 done, 5 done before" in succeed("model.onnx", "faces", "-o", "out").stderr
    Path("out/00.png").unlink()
    run = cluster()
    run.results.take([run.outcomes()])
    assert run.counts() == (1, COUNT - 1, 0)
    row = run.results.all_rows()[-1]
    assert (row.status, row.bytes) == (DONE_BEFORE, Path(str(row.output)).stat().st_size)
    assert len(str(row.sha256)) == 64


def test_nothing_has_a_final_name_before_the_journal_knows_it(cluster: Callable[..., Cluster]) -> None:
    run = cluster()
    run.outcomes()
    assert not list(Path("out").rglob("*.png"))
    assert not Path("out", JOURNAL).exists()
    run.results.remove_parts()
    assert not list(Path("out").rglob("*.part"))


def test_a_bad_file_is_a_row_with_its_reason(cluster: Callable[..., Cluster]) -> None:
    Path("faces/03.png").write_bytes(b"no picture")
    run = cluster()
    run.results.take([run.outcomes()])
    assert run.counts() == (COUNT - 1, 0, 1)
    bad = [row for row in run.results.all_rows() if row.status == FAILED]
    assert [(row.path, row.output) for row in bad] == [("faces/03.png", None)]
    assert bad[0].reason.startswith("faces/03.png: ")
    assert run.said == [f"skipped: {bad[0].reason}"]


def test_a_bad_file_ends_a_run_that_is_to_stop_at_errors(cluster: Callable[..., Cluster]) -> None:
    Path("faces/03.png").write_bytes(b"no picture")
    run = cluster(on_error="stop")
    with pytest.raises(InputError, match=r"03\.png"):
        run.results.take([run.outcomes()])


def test_what_comes_back_twice_counts_once(cluster: Callable[..., Cluster]) -> None:
    run = cluster()
    outcomes = run.outcomes()
    run.results.take([outcomes, outcomes])
    assert run.counts() == (COUNT, 0, 0)
    assert len(journal("out")) == COUNT


def test_a_file_that_appears_during_the_run_is_not_replaced(cluster: Callable[..., Cluster]) -> None:
    run = cluster()
    outcomes = run.outcomes()
    target = run.work.jobs[0].target
    target.write_bytes(b"of somebody else")
    run.results.take([outcomes])
    assert target.read_bytes() == b"of somebody else"
    assert run.counts() == (COUNT - 1, 0, 1)
    assert "was made by something else" in run.said[0]


def test_files_that_nothing_comes_back_for_are_left_or_given_up(cluster: Callable[..., Cluster]) -> None:
    run = cluster()
    run.results.take([run.outcomes(range(4))])
    assert run.states() == ["done"] * 4 + ["left"] * (COUNT - 4)
    run.results.give_up(run.results.left, "the process that had it died")
    assert run.states() == ["done"] * 4 + [FAILED] * (COUNT - 4)
    assert run.counts() == (4, 0, COUNT - 4)


def test_an_actor_that_replaces_another_is_told_once(cluster: Callable[..., Cluster], capsys: Any) -> None:
    run = cluster()
    with on_terminal():
        run.results.take([[replace(one, again=True)] for one in run.outcomes()])
    assert capsys.readouterr().err.count("an actor died; another does its files again") == 1


def test_a_fault_of_the_run_is_raised_after_what_was_done(cluster: Callable[..., Cluster]) -> None:
    run = cluster()
    broken = fault(ErrorData.of(MissingError("no driver on this node")))
    with pytest.raises(MissingError, match="no driver on this node"):
        run.results.take([[*run.outcomes(range(3)), broken]])
    assert run.counts() == (3, 0, 0)


def test_a_defect_keeps_its_traceback() -> None:
    error = ErrorData("", "Traceback ... ZeroDivisionError").error()
    assert type(error) is RuntimeError
    assert "ZeroDivisionError" in str(error)


def test_a_smaller_batch_is_in_the_journal_before_its_faces(
    cluster: Callable[..., Cluster], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = cluster(batch=4)
    worker = run.worker()
    session = worker._batches._session  # the only way to make this engine's memory small
    real = session.upscale

    def upscale(batch: Any) -> Any:
        if len(batch) > 2:
            raise OutOfMemory("2 GiB are free")
        return real(batch)

    monkeypatch.setattr(session, "upscale", upscale)
    run.results.take([worker.upscale(list(run.results.given(range(COUNT))))])
    run.journal.close()
    assert '"asked": 4, "batch": 2' in Path("out", JOURNAL).read_text().splitlines()[0]
    assert f"0 done, {COUNT} done before" in succeed("model.onnx", "faces", "-o", "out", "--batch", 4).stderr


def test_a_node_that_would_make_other_faces_is_refused(cluster: Callable[..., Cluster]) -> None:
    run = cluster()
    other = Facts(run.facts.info, run.facts.made_with, "TensorRT 10.16 on NVIDIA H100")
    with pytest.raises(UsageError, match=r"has ONNX Runtime .*; the first node has TensorRT 10\.16 on NVIDIA H100"):
        Worker(run.orders, other, [1])


def test_a_node_without_the_folder_is_refused(cluster: Callable[..., Cluster]) -> None:
    run = cluster()
    with pytest.raises(UsageError, match="a folder that all nodes share"):
        Worker(replace(run.orders, folder="/nowhere/out"), run.facts, [1])


def test_a_device_that_failed_ends_its_actor_and_a_full_disk_the_run(
    cluster: Callable[..., Cluster], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = cluster()
    worker = run.worker()
    given = list(run.results.given([0]))

    def full(path: Path, content: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(worker_module, "write_part", full)
    assert "No space left on device" in os.fsdecode(worker.upscale(given)[-1].reason)

    def fails(batch: Any) -> Any:
        raise DeviceError("CUDA error 719")

    monkeypatch.setattr(worker._batches._session, "upscale", fails)
    with pytest.raises(DeviceError, match="CUDA error 719"):
        worker.upscale(given)


def test_names_that_are_no_text_go_there_and_back(cluster: Callable[..., Cluster]) -> None:
    name = os.fsdecode(b"faces/\xff.png")
    Path("faces/00.png").rename(name)
    run = cluster()
    run.results.take([run.outcomes()])
    assert run.counts() == (COUNT, 0, 0)
    assert cv2.imread(os.fsdecode(b"out/sub/01.png")) is not None
    assert Path(os.fsdecode(b"out/\xff.png")).exists()


def test_the_parts_of_a_run_are_beside_their_outputs(cluster: Callable[..., Cluster]) -> None:
    run = cluster()
    outcomes = run.outcomes([0])
    assert outcomes[0].state == WRITTEN
    part = part_of(run.work.jobs[0].target)
    assert part.parent == run.work.jobs[0].target.parent
    assert part.stat().st_size == outcomes[0].size
