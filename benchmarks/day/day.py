"""A day: the steps that are not done, one after the other, under one time limit."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tarfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.day import process
from benchmarks.day.environment import environment
from benchmarks.day.journal import CUT_OFF, DONE, FAILED, LEFT_BEHIND, LEFT_OUT, TRIES, Journal
from benchmarks.day.steps import Step
from benchmarks.day.table import table
from benchmarks.other_python import ROOT
from benchmarks.rows import read_rows

TABLE_SECONDS = 5.0  # kept for the table, and for what ends
TEST_BUNDLE = "tiny-fp16"
TAIL_LINES, TAIL_WIDTH = 14, 400


@dataclass
class Day:
    """A day in a folder ``out``, which may hold what earlier ones left: rows.jsonl, steps.jsonl, log.txt, table.md.

    ``bundles`` are those that were brought; they stay as they are, plans are built in copies. ``tensorrt`` and
    ``torch`` are the two Pythons. After each step the results are copied into ``copy_to``, a few small files. A step
    for which less than ``least`` seconds are left is left out.
    """

    out: Path
    bundles: Path
    tensorrt: str
    torch: str
    limit: float
    steps: Sequence[Step]
    copy_to: Path | None = None
    least: float = 8.0
    started: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.out, self.bundles = self.out.absolute(), self.bundles.absolute()
        self.rows, self.log, self.work = self.out / "rows.jsonl", self.out / "log.txt", self.out / "work"
        self.journal = Journal(self.out / "steps.jsonl")
        for folder in (self.out / "logs", self.work / "bundles", self.work / "test-bundles"):
            folder.mkdir(parents=True, exist_ok=True)

    def run(self, asked: Sequence[str] = ()) -> None:
        """Run the steps that are not done, of the groups that are ``asked`` for, or of all.

        One that failed before is tried once more, and after that only where its group is asked for.
        """
        if left := process.end_marked(str(self.out)):
            self.say(f"processes of the day before cannot be killed: {', '.join(map(str, left))}")
        for step in self.steps:
            if self.journal.is_done(step.name) or (asked and step.group not in asked):
                continue
            if self.journal.failures(step.name) >= TRIES and not asked:
                self.say(f"-- {step.name}: failed {TRIES} times; --steps {step.group} tries it again")
            elif reason := self.hindrance(step):
                self.say(f"-- {step.name}: {reason}")
                self.journal.note(step.name, LEFT_OUT, reason)
            else:
                self.take(step)
                self.save()

    def hindrance(self, step: Step) -> str:
        """Return why a step cannot be run, "" where it can."""
        for name in filter(None, (step.bundle, step.plan)):
            if not self.bring(name):
                return f"no bundle {name} was brought"
        if step.plan and not self.has_plan(step.plan):
            return f"{step.plan} has no plan"
        if step.unless and self.is_built(step.unless):
            return f"not needed, {step.unless} has its plan"
        if self.room(step) < self.least:
            return "no time left"
        return ""

    def room(self, step: Step) -> float:
        """Return the seconds that a step may take now."""
        return min(step.most, self.limit - (time.monotonic() - self.started) - TABLE_SECONDS - step.reserve)

    def take(self, step: Step) -> None:
        """Run a step and write down what became of it."""
        room, log = self.room(step), self.out / "logs" / f"{step.name}.txt"
        self.say(f"== {step.name} (at most {room:.0f} s)")
        before = log.stat().st_size if log.exists() else 0
        places = {"rows": self.rows, "bundles": self.work / "bundles", "work": self.work, "torch": self.torch}
        words = [fill(word, places) for word in step.arguments]
        python = self.torch if step.torch else self.tensorrt
        around = environment(os.environ, self.work, self.rows, other_python=python != sys.executable)
        try:
            ended = process.run([python, *words], around, ROOT, log, room, str(self.out))
        except OSError as error:
            ended = process.Ended("ended", 127, 0.0)
            log.write_text(f"{python} cannot be started: {error.strerror}\n", encoding="utf-8")
        with log.open("rb") as stream:
            stream.seek(before)
            lines = [line for line in stream.read().decode(errors="replace").splitlines() if line.strip()]
        outcome, reason = judge(ended, step.answers, lines[-1] if lines else "")
        self.journal.note(step.name, outcome, reason, code=ended.code, seconds=round(ended.seconds, 1))
        tail = [f"   {line[:TAIL_WIDTH]}" for line in lines[-TAIL_LINES:]]
        self.say("\n".join([f"{step.name}: {outcome} after {ended.seconds:.1f} s {reason}".rstrip(), *tail]))

    def bring(self, name: str) -> bool:
        """Copy a bundle to where its plan is built, whole or not at all; tell whether it is there."""
        source = self.bundles / name.partition("@")[0]
        for folder in ("bundles", *(["test-bundles"] if name == TEST_BUNDLE else [])):
            target = self.work / folder / name
            if not target.is_dir() and (source / "bundle.json").is_file():
                part = target.with_name(f".{name}.part")
                shutil.rmtree(part, ignore_errors=True)
                shutil.copytree(source, part, ignore=shutil.ignore_patterns("engine.plan"))
                part.rename(target)
        return (self.work / "bundles" / name).is_dir()

    def has_plan(self, name: str) -> bool:
        """Tell whether a bundle's plan was built here."""
        return (self.work / "bundles" / name / "engine.plan").is_file()

    def is_built(self, name: str) -> bool:
        """Tell whether a bundle's plan was built here and its row is written, at whatever effort."""
        built = {
            row.get("bundle") for row in read_rows(self.rows) if row.get("question") == "build" and "failed" not in row
        }
        return self.has_plan(name) and name in built

    def say(self, text: str) -> None:
        """Print and keep a line or some, with the seconds since the start."""
        line = f"{time.monotonic() - self.started:5.0f} s  {text}"
        with suppress(OSError):  # a reader that has gone ends no day
            print(line, flush=True)
        with suppress(OSError), self.log.open("a", encoding="utf-8") as stream:
            stream.write(line + "\n")

    def save(self) -> None:
        """Write the table, and copy the results to where they are to be."""
        (self.out / "table.md").write_text(table(self.rows, self.journal, self.steps), encoding="utf-8")
        if self.copy_to is None:
            return
        try:
            self.copy_to.mkdir(parents=True, exist_ok=True)
            for path in (self.rows, self.journal.path, self.log, self.out / "table.md", self.work / "timings"):
                if path.is_file():
                    shutil.copyfile(path, self.copy_to / path.name)
            with tarfile.open(self.copy_to / "logs.tgz", "w:gz", compresslevel=1) as archive:
                archive.add(self.out / "logs", "logs")
        except OSError as error:
            self.say(f"{self.copy_to}: cannot be written: {error.strerror or error}")


def fill(word: str, places: Mapping[str, object]) -> str:
    """Return a word of a command with the paths that its {names} stand for; other braces stay."""
    for name, place in places.items():
        word = word.replace(f"{{{name}}}", str(place))
    return word


def judge(ended: process.Ended, answers: Sequence[int], last_line: str) -> tuple[str, str]:
    """Return a step's outcome and its reason."""
    if ended.how == "cut off":
        return CUT_OFF, f"did not end within {ended.seconds:.0f} s"
    if ended.how == "left behind":
        return LEFT_BEHIND, f"could not be killed after {ended.seconds:.0f} s"
    if ended.code in answers:
        return DONE, ""
    assert ended.code is not None
    how = f"{signal.strsignal(-ended.code)} (signal {-ended.code})" if ended.code < 0 else f"code {ended.code}"
    return FAILED, f"ended with {how}{last_line and '; its last line: '}{last_line[:TAIL_WIDTH]}"
