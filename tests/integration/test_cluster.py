"""A real cluster of Ray's on this machine: the faces are those of one machine, whatever dies on the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from fsr_deploy.images.codec import write_frame
from fsr_deploy.runtime.folder.journal import NAME as JOURNAL
from tests.engines import write_onnx

pytest.importorskip("ray.data", reason="the extra cluster is not installed")
pytestmark = [pytest.mark.integration, pytest.mark.timeout(1200)]

COUNT = 60
BAD = "faces/30.png"
PATIENCE_SECONDS = 300
WORK = 200  # convolutions, so that a process can be killed long before the others have done the rest


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An engine, frames in a folder and a sub-folder, one of them bad, and what one machine makes of them."""
    folder = tmp_path_factory.mktemp("cluster")
    write_onnx(folder / "model.onnx", work=WORK)
    rng = np.random.default_rng(0)
    for index in range(COUNT):
        name = f"faces/{'sub/' if index % 3 else ''}{index:02}.png"
        write_frame(folder / name, rng.integers(0, 256, (4, 4, 3), np.uint8))
    (folder / BAD).write_bytes(b"no picture")
    assert run(folder, "one").returncode == 6
    return folder


def command(output: str, *words: str, source: str = "faces") -> list[str]:
    return [sys.executable, "-m", "fsr_deploy.cli.run", "model.onnx", source, "-o", output, "--device", "cpu", *words]


def run(folder: Path, output: str, *words: str, stdin: str | None = None) -> Any:
    source = "faces" if stdin is None else "-"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    call = command(output, *words, source=source)
    return subprocess.run(call, cwd=folder, env=environment, input=stdin, capture_output=True, text=True, check=False)


class Running:
    """A run on a cluster that is under way."""

    def __init__(self, folder: Path, output: str) -> None:
        self.journal = folder / output / JOURNAL
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        self.process = subprocess.Popen(
            command(output, "--cluster", "local"), cwd=folder, env=environment, stderr=subprocess.PIPE, text=True
        )

    def wait_for(self, lines: int) -> None:
        """Wait until the journal has so many lines."""
        end = time.monotonic() + PATIENCE_SECONDS
        while len(self.lines()) < lines:
            assert time.monotonic() < end and self.process.poll() is None, self.said()
            time.sleep(0.02)

    def lines(self) -> list[str]:
        return self.journal.read_text().splitlines() if self.journal.exists() else []

    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def actors(self) -> list[psutil.Process]:
        return [one for one in self.family() if "MapWorker" in "".join(one.cmdline())]

    def said(self) -> str:
        self.process.terminate()
        assert self.process.stderr
        return self.process.stderr.read()


def running(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [one for one in processes if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]


def contents(folder: Path) -> dict[str, bytes]:
    """Return the files of a run, those that it hides included; not its own records."""
    paths = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".fsr-run")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def rows(folder: Path) -> dict[str, dict[str, Any]]:
    import pyarrow.parquet

    return {row["path"]: row for row in pyarrow.parquet.read_table(folder / ".fsr-run.parquet").to_pylist()}


@pytest.fixture(scope="module")
def killed(here: Path) -> Iterator[tuple[Path, int, str]]:
    """The output of a run of which an actor was killed midway, its exit code and what it said."""
    run = Running(here, "killed")
    run.wait_for(8)
    actors = run.actors()
    assert len(actors) == 2
    max(actors, key=lambda one: one.cpu_times().user).kill()  # the other one may not have begun yet
    family = run.family()
    assert run.process.stderr
    said = run.process.stderr.read()
    code = run.process.wait(PATIENCE_SECONDS)
    assert running(family) == []
    yield here / "killed", code, said


def test_the_files_of_an_actor_that_was_killed_are_done_again(here: Path, killed: tuple[Path, int, str]) -> None:
    output, code, said = killed
    assert code == 6, said
    assert "an actor died; another does its files again" in said
    assert contents(output) == contents(here / "one")
    lines = (output / JOURNAL).read_text().splitlines()
    assert sorted(lines) == sorted((here / "one" / JOURNAL).read_text().splitlines()), "none is lost, none done twice"


def test_each_file_has_a_row_the_bad_one_with_its_reason(here: Path, killed: tuple[Path, int, str]) -> None:
    found = rows(killed[0])
    assert len(found) == COUNT
    assert found[BAD]["status"] == "failed"
    assert found[BAD]["reason"].startswith(f"{BAD}: ")
    outputs = {row["output"]: row for row in found.values() if row["status"] == "done"}
    for name, content in contents(here / "one").items():
        assert outputs[f"killed/{name}"]["bytes"] == len(content)
    journal = [json.loads(line) for line in (killed[0] / JOURNAL).read_text().splitlines()]
    assert {row["sha256"] for row in outputs.values()} == {line["sha256"] for line in journal}
    assert all(row["seconds"] > 0 and row["device"].endswith(" cpu") for row in outputs.values())


def test_one_machine_goes_on_where_a_cluster_ended(here: Path, killed: tuple[Path, int, str]) -> None:
    for name in list(contents(killed[0]))[:5]:
        (killed[0] / name).unlink()
    done = run(here, "killed")
    assert f"5 done, {COUNT - 6} done before, 1 failed" in done.stderr
    assert contents(killed[0]) == contents(here / "one")


def test_a_cluster_goes_on_where_one_machine_or_a_dead_driver_ended(here: Path) -> None:
    """One machine does some; then a cluster is interrupted, another one's driver is killed, and a third finishes."""
    first = [f"faces/{index:02}.png" for index in (0, 3, 6)] + ["faces/sub/01.png"]
    done = run(here, "out", stdin="\n".join(first))
    assert "4 done of 4" in done.stderr

    interrupted = Running(here, "out")
    interrupted.wait_for(12)
    family = interrupted.family()
    interrupted.process.send_signal(signal.SIGTERM)
    assert interrupted.process.stderr
    said = interrupted.process.stderr.read()
    assert interrupted.process.wait(PATIENCE_SECONDS) == 130, said
    assert running(family) == []
    assert not list((here / "out").rglob("*.part"))
    assert "run the same command again to go on" in said
    assert "left" in {row["status"] for row in rows(here / "out").values()}

    dead = Running(here, "out")
    before = len(dead.lines())
    dead.wait_for(before + 8)
    family = dead.family()
    dead.process.kill()
    dead.process.wait()
    end = time.monotonic() + PATIENCE_SECONDS
    while running(family) and time.monotonic() < end:
        time.sleep(0.1)
    assert running(family) == []
    kept = len(dead.lines())
    assert kept >= before + 8

    done = run(here, "out", "--cluster", "local", "--json")
    assert done.returncode == 6, done.stderr
    told = json.loads(done.stdout)
    # A line that was written just before its file was moved belongs to a file that is done again.
    assert kept - told["frames"]["done_before"] in (0, 1)
    assert told["frames"]["done"] == COUNT - 1 - told["frames"]["done_before"]
    assert contents(here / "out") == contents(here / "one")
