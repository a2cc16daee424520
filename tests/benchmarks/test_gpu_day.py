"""A GPU day whose steps are stand-ins: what is run, what is kept, how it ends and how it goes on."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import gpu_day
from benchmarks.day import process
from benchmarks.day.day import Day
from benchmarks.day.environment import driver_folder
from benchmarks.day.lines import NAMES
from benchmarks.day.steps import groups, steps
from benchmarks.other_python import ROOT
from benchmarks.rows import read_rows
from tests.benchmarks import stand_in_steps

START_SECONDS = 60.0
NAMES_BROUGHT = [name for name in NAMES if "@" not in name]


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with all bundles that a day asks for, empty but for their record."""
    folder = tmp_path_factory.mktemp("bundles")
    for name in NAMES_BROUGHT:
        (folder / name).mkdir()
        (folder / name / "bundle.json").write_text("{}")
    return folder


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(stand_in_steps.write(tmp_path_factory.mktemp("python") / "python"))


@pytest.fixture(scope="module")
def whole(bundles: Path, python: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return what a day left that ran from start to end, ``out``, ``copy`` and what it ``printed``."""
    folder = tmp_path_factory.mktemp("whole")
    printed = run_day(bundles, python, folder / "out", "--copy-to", str(folder / "copy"))
    (folder / "printed").write_text(printed)
    return folder


@pytest.fixture
def behave(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that says how steps go wrong."""
    return lambda **how: monkeypatch.setenv("STAND_IN_STEPS", json.dumps(how))


@pytest.fixture
def over_once_it_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the time of a step be over as soon as it hangs, however long it took to come to that."""
    ends, seen = process._ends, set()

    def hangs_or_ends(running: subprocess.Popen[bytes], seconds: float) -> bool:
        hanging = tmp_path / "out" / stand_in_steps.HANG / str(running.pid)
        while running.pid not in seen and running.poll() is None:
            if hanging.exists():
                seen.add(running.pid)
                return False
            time.sleep(0.005)
        return ends(running, seconds)

    monkeypatch.setattr(process, "_ends", hangs_or_ends)


@pytest.fixture
def day(bundles: Path, python: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Day]:
    """Return a function that makes a day of some steps in the folder ``out``, each with a limit of its own."""
    monkeypatch.setattr(process, "POLITE_SECONDS", 0.2)
    monkeypatch.setattr(process, "PATIENCE_SECONDS", START_SECONDS)

    def make(*names: str, most: float = START_SECONDS, **changes: object) -> Day:
        chosen = [replace(step, most=most) for step in steps() if step.name in names]
        assert len(chosen) == len(names)
        options: dict[str, object] = {"tensorrt": python, "torch": python, "limit": 600.0, "least": 0.1, **changes}
        return Day(out=tmp_path / "out", bundles=bundles, steps=chosen, **options)  # type: ignore[arg-type]

    return make


def command(bundles: Path, python: str, out: Path, *options: str) -> list[str]:
    pythons = ("--python-with-tensorrt", python, "--python-with-torch", python)
    words = ("-m", "benchmarks.gpu_day", "600", "--bundles", str(bundles), "--out", str(out), *pythons, *options)
    return [sys.executable, "-S", *words]  # without the packages of this Python: it needs none


def run_day(bundles: Path, python: str, out: Path, *options: str) -> str:
    done = subprocess.run(
        command(bundles, python, out, *options), cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout


def rows_in(out: Path) -> Counter[str]:
    return Counter(json.dumps(row, sort_keys=True) for row in read_rows(out / "rows.jsonl"))


def steps_in(out: Path) -> dict[str, str]:
    return {row["step"]: row["outcome"] for row in read_rows(out / "steps.jsonl")}


def test_a_day_from_start_to_end(whole: Path, bundles: Path) -> None:
    needless = {"layers-64-tiny-fp16", "layers-1-tiny-fp16", "run-tiny-fp16"}
    outcomes = steps_in(whole / "out")
    assert list(outcomes) == [step.name for step in steps()], "in the order of importance"
    assert {name for name, outcome in outcomes.items() if outcome != "done"} == needless
    table = (whole / "out" / "table.md").read_text()
    assert "not measured" not in table and (whole / "printed").read_text().endswith(table)
    assert "| AMINet FP16: batch 1, CUDA graph | under 1.2 ms | 0.900 ms, p99 1.800 ms | yes |" in table
    assert "| AMINet FP16 against torch.compile: batch 64 | 1.5 times | 1.33 times | **no** |" in table
    copied = {path.name for path in (whole / "copy").iterdir()}
    assert copied == {"rows.jsonl", "steps.jsonl", "log.txt", "table.md", "logs.tgz"}
    assert not any((bundles / name / "engine.plan").exists() for name in NAMES_BROUGHT), (
        "what was brought stays as it is"
    )


def test_a_day_that_is_killed_at_five_moments_has_the_same_rows_in_the_end(
    whole: Path, bundles: Path, python: str, tmp_path: Path, behave: Callable[..., None]
) -> None:
    expected, out = rows_in(whole / "out"), tmp_path / "out"
    assert len(expected) > 60 and set(expected.values()) == {1}
    behave(pause=0.02)
    before: Counter[str] = Counter()
    for moment in (1, 8, 21, 34, 50):
        with (tmp_path / "output").open("w") as stream:
            driver = subprocess.Popen(command(bundles, python, out), cwd=ROOT, stdout=stream, stderr=stream)
        wait_for(lambda moment=moment: rows_in(out).total() >= moment)  # type: ignore[misc]
        driver.kill()
        assert driver.wait() == -signal.SIGKILL
        now = rows_in(out)
        assert not before - now and now.total() < len(expected)
        before = now
    wait_for(lambda: not process.kill_marked(str(out)))
    behave()
    run_day(bundles, python, out)
    assert rows_in(out) == expected
    assert (out / "table.md").read_text() == (whole / "out" / "table.md").read_text()


def test_the_steps_of_a_killed_day_end_with_it(
    bundles: Path, python: str, tmp_path: Path, behave: Callable[..., None]
) -> None:
    behave(gpu_parity="hang")
    out = tmp_path / "out"
    driver = subprocess.Popen(command(bundles, python, out), cwd=ROOT, stdout=subprocess.DEVNULL)
    wait_for(lambda: any(row["question"] == "parity" for row in read_rows(out / "rows.jsonl")))
    driver.kill()
    driver.wait()
    wait_for(lambda: not running(str(out)))


def test_a_day_that_is_asked_to_end_leaves_its_table(
    bundles: Path, python: str, tmp_path: Path, behave: Callable[..., None]
) -> None:
    behave(gpu_parity="hang")
    out = tmp_path / "out"
    driver = subprocess.Popen(command(bundles, python, out), cwd=ROOT, stdout=subprocess.DEVNULL)
    wait_for(lambda: any(row["question"] == "parity" for row in read_rows(out / "rows.jsonl")))
    driver.terminate()
    assert driver.wait() == 130
    assert "AMINet FP16: the plan's build | within its parity budget | 60 s" in (out / "table.md").read_text()
    assert not running(str(out))


@pytest.mark.usefixtures("over_once_it_hangs")
@pytest.mark.parametrize("how", ["hang", "stubborn"])
def test_a_step_that_hangs_is_cut_off_and_the_next_one_runs(
    day: Callable[..., Day], behave: Callable[..., None], how: str
) -> None:
    behave(gpu_parity=how)
    today = day("build-tiny-fp16", "parity-tiny-fp16", "speed-tiny-fp16")
    today.run()
    assert steps_in(today.out) == {
        "build-tiny-fp16": "done",
        "parity-tiny-fp16": "cut off",
        "speed-tiny-fp16": "done",
    }
    assert len([row for row in read_rows(today.rows) if row["question"] == "parity"]) == 1, "its first row is kept"
    assert not running(str(today.out))
    behave()
    tomorrow = day("build-tiny-fp16", "parity-tiny-fp16", "speed-tiny-fp16")
    tomorrow.run()
    assert set(steps_in(today.out).values()) == {"done"}
    assert "| tiny FP16 against eager FP32 | 50 dB | 55.5 dB at worst" in (today.out / "table.md").read_text()


@pytest.mark.usefixtures("over_once_it_hangs")
def test_a_step_that_cannot_be_killed_is_left_behind(
    day: Callable[..., Day], behave: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    behave(gpu_parity="stubborn")
    kill_marked = process.kill_marked
    today = day("build-tiny-fp16", "parity-tiny-fp16", "speed-tiny-fp16")
    monkeypatch.setattr(process, "kill_marked", lambda mark: [])
    monkeypatch.setattr(process, "PATIENCE_SECONDS", 0.2)
    today.run()
    assert steps_in(today.out)["parity-tiny-fp16"] == "left behind"
    assert steps_in(today.out)["speed-tiny-fp16"] == "done"
    assert running(str(today.out))
    monkeypatch.setattr(process, "kill_marked", kill_marked)
    monkeypatch.setattr(process, "PATIENCE_SECONDS", START_SECONDS)
    assert process.end_marked(str(today.out)) == []


def test_a_step_that_crashes_costs_no_other_and_is_tried_once_more(
    day: Callable[..., Day], behave: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    behave(gpu_parity="crash")
    names = ("build-tiny-fp16", "parity-tiny-fp16", "speed-tiny-fp16")
    for _ in range(3):
        day(*names).run()
    ends = [row for row in read_rows(day().journal.path) if row["step"] == "parity-tiny-fp16"]
    assert [(row["outcome"], row["code"]) for row in ends] == [("failed", -signal.SIGSEGV)] * 2
    assert ends[0]["reason"].startswith("ended with Segmentation fault (signal 11); its last line: bundle tiny-fp16")
    assert len([row for row in read_rows(day().rows) if row["question"] == "parity"]) == 2, "a row more each time"
    assert steps_in(day().out)["speed-tiny-fp16"] == "done"
    assert "--steps parity tries it again" in capsys.readouterr().out
    behave()
    day(*names).run(["parity"])
    assert steps_in(day().out)["parity-tiny-fp16"] == "done"


def test_a_plan_of_more_effort_is_built_beside_the_quick_one(whole: Path) -> None:
    folder = whole / "out" / "work" / "bundles"
    assert (folder / "aminet-fp16" / "engine.plan").is_file() and (folder / "aminet-fp16@3" / "engine.plan").is_file()
    levels = {row["bundle"]: row["level"] for row in read_rows(whole / "out" / "rows.jsonl") if "level" in row}
    assert (levels["aminet-fp16"], levels["aminet-fp16@3"]) == (0, 3)


@pytest.mark.parametrize(
    ("interpreter", "reason"),
    [('#!/bin/sh\nexec {python} -S "$@"\n', "ModuleNotFoundError"), ("", "cannot be started")],
)
def test_a_machine_without_pytorch_lacks_the_baseline_alone(
    day: Callable[..., Day], tmp_path: Path, interpreter: str, reason: str
) -> None:
    other = tmp_path / "python3"
    if interpreter:
        other.write_text(interpreter.format(python=sys.executable))
        other.chmod(0o755)
    today = day("build-aminet-fp16", "speed-aminet-fp16", "eager", torch=str(other))
    today.run()
    assert steps_in(today.out) == {"build-aminet-fp16": "done", "speed-aminet-fp16": "done", "eager": "failed"}
    table = (today.out / "table.md").read_text()
    assert "| AMINet in PyTorch |  | not measured (ended with code" in table and reason in table
    assert "| AMINet FP16 against torch.compile: batch 64 | 1.5 times | not measured (ended" in table


def test_what_was_not_brought_or_has_no_time_is_left_out_and_told(day: Callable[..., Day], bundles: Path) -> None:
    today = day("build-aminet-fp16", "speed-aminet-fp16", "build-tiny-fp16", "parity-tiny-fp16", limit=5.05)
    today.bundles = today.out / "brought"
    shutil.copytree(bundles / "tiny-fp16", today.bundles / "tiny-fp16")
    today.run()
    told = {row["step"]: row["reason"] for row in read_rows(today.journal.path)}
    assert told == {
        "build-aminet-fp16": "no bundle aminet-fp16 was brought",
        "speed-aminet-fp16": "no bundle aminet-fp16 was brought",
        "build-tiny-fp16": "no time left",
        "parity-tiny-fp16": "tiny-fp16 has no plan",
    }


def test_a_plan_that_was_brought_along_is_not_taken_for_one_of_this_machine(
    day: Callable[..., Day], bundles: Path
) -> None:
    today = day("parity-tiny-fp16")
    today.bundles = today.out / "brought"
    shutil.copytree(bundles / "tiny-fp16", today.bundles / "tiny-fp16")
    (today.bundles / "tiny-fp16" / "engine.plan").write_bytes(b"another GPU's")
    today.run()
    assert [row["reason"] for row in read_rows(today.journal.path)] == ["tiny-fp16 has no plan"]


def test_later_steps_have_their_time_reserved(day: Callable[..., Day]) -> None:
    today = day("build-aminet-fp16", "parity-aminet-fp16", most=240.0, limit=300.0)
    build, parity = today.steps
    assert 190 < today.room(build) <= 195 and today.room(parity) == 240


def test_another_day_in_the_same_folder_is_refused_or_waits(
    bundles: Path, python: str, tmp_path: Path, behave: Callable[..., None]
) -> None:
    behave(facts="hang")
    out = tmp_path / "out"
    driver = subprocess.Popen(command(bundles, python, out), cwd=ROOT, stdout=subprocess.DEVNULL)
    wait_for(lambda: bool(rows_in(out)))
    second = subprocess.run(command(bundles, python, out), cwd=ROOT, stderr=subprocess.PIPE, text=True)
    assert (second.returncode, second.stderr) == (4, f"error: {out}: another day is running there\n")
    behave()
    waiting = (*command(bundles, python, out), "--wait", "60", "--steps", "facts")
    third = subprocess.Popen(waiting, cwd=ROOT, stdout=subprocess.DEVNULL)
    driver.terminate()
    assert (driver.wait(), third.wait()) == (130, 0)
    assert steps_in(out) == {"facts": "done"}


def test_a_table_is_there_on_demand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu_day.main(["--out", str(tmp_path), "--table"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")][2:]
    assert len(lines) > 35 and all("not measured (no step was run)" in line for line in lines)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--bundles", "nowhere"], "--bundles nowhere: no such folder; benchmarks.gpu_bundles makes one"),
        (["--bundles", ".", "--steps", "speed,sped"], "there is no step 'sped'; there are facts, doctor"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        gpu_day.main(["--out", str(tmp_path), *options])
    assert ended.value.code == 2 and message in capsys.readouterr().err


def test_the_baseline_alone_needs_no_bundles(python: str, tmp_path: Path) -> None:
    run_day(tmp_path / "nowhere", python, tmp_path / "out", "--steps", "eager")
    assert steps_in(tmp_path / "out") == {"eager": "done"}


def test_every_question_has_its_place() -> None:
    assert groups() == (
        *("facts", "doctor", "tiny", "aminet", "parity", "speed", "eager", "layers", "run"),
        *("effort", "int8", "sparnet", "mfspnet", "pytest"),
    )
    assert len({step.name for step in steps()}) == len(steps())


def test_a_driver_that_the_loader_does_not_find_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctypes.util.find_library", lambda name: None)
    assert driver_folder([str(tmp_path)]) == ""
    (tmp_path / "libcuda.so.1").touch()
    assert driver_folder(["/nowhere", str(tmp_path)]) == str(tmp_path)
    monkeypatch.setattr("ctypes.util.find_library", lambda name: "libcuda.so.1")
    assert driver_folder([str(tmp_path)]) == ""


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + START_SECONDS
    while not condition():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.005)


def running(mark: str) -> list[str]:
    """Return the processes of a day, by number."""
    wanted, found = f"{process.MARK}={mark}".encode(), []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if wanted in (entry / "environ").read_bytes().split(b"\0") and int(entry.name) != os.getpid():
                found.append(entry.name)
        except OSError:
            continue
    return found
