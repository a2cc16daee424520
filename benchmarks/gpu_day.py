"""A GPU day in one call: every question in order of importance, under one time limit.

    python -m benchmarks.gpu_day 560 --bundles bundles --out day --python-with-torch /usr/bin/python3
    python -m benchmarks.gpu_day --out day --table

Each step is a process of its own and gets what is left of the time, less what later steps need. Every row is on the
disk as soon as it is measured, so that a day may be killed at any moment; the same call again goes on where it stopped.
Results: ``rows.jsonl``, ``steps.jsonl``, ``log.txt`` and ``table.md``. Needs nothing but Python itself: the one with
TensorRT and the one with PyTorch can be others.
"""

from __future__ import annotations

import argparse
import fcntl
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import IO, Any

from benchmarks.day.day import Day
from benchmarks.day.journal import Journal
from benchmarks.day.steps import groups, steps
from benchmarks.day.table import table
from benchmarks.other_python import clean_environment

SECONDS = 560.0
POLL_SECONDS = 0.2
BUSY, INTERRUPTED = 4, 130


def main(arguments: list[str] | None = None) -> int:
    started = time.monotonic()
    given = parse(arguments)
    if given.table:
        print(table(given.out / "rows.jsonl", Journal(given.out / "steps.jsonl"), steps()), end="")
        return 0
    given.out.mkdir(parents=True, exist_ok=True)
    with (given.out / ".lock").open("w") as lock:
        if not is_mine(lock, given.wait):
            print(f"error: {given.out}: another day is running there", file=sys.stderr)
            return BUSY
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, _end)
        day = Day(
            out=given.out,
            bundles=given.bundles,
            tensorrt=given.python_with_tensorrt,
            torch=given.python_with_torch or shutil.which("python3", path=clean_environment().get("PATH")) or "python3",
            limit=given.seconds,
            steps=steps(),
            copy_to=given.copy_to,
            started=started,
        )
        try:
            day.run(given.steps)
        except KeyboardInterrupt:
            day.say("interrupted; the same call goes on")
            return INTERRUPTED
        finally:
            day.save()
            print((day.out / "table.md").read_text(encoding="utf-8"), end="", flush=True)
    return 0


def is_mine(lock: IO[str], wait: float) -> bool:
    """Take the lock of a day's folder, for which another day may be waited for; tell whether that worked."""
    end = time.monotonic() + wait
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except OSError:
            if time.monotonic() >= end:
                return False
            time.sleep(POLL_SECONDS)


def parse(arguments: list[str] | None) -> Any:
    """Return the options; ends the program where they make no sense."""
    parser = argparse.ArgumentParser(prog="gpu_day", description="Measure everything that a GPU can tell, in order.")
    parser.add_argument("seconds", nargs="?", type=float, default=SECONDS, help="time for all of it (%(default)g)")
    parser.add_argument(
        "--bundles", type=Path, default=Path("bundles"), help="folder of bundles from benchmarks.gpu_bundles"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the results; one that is there is gone on")
    parser.add_argument("--copy-to", type=Path, help="folder into which the results are copied after each step")
    parser.add_argument("--steps", type=_groups, default=(), help=f"only some of {','.join(groups())}")
    parser.add_argument("--python-with-tensorrt", default=sys.executable, help="the one that runs this, by default")
    parser.add_argument("--python-with-torch", default="", help="for the baseline; python3 by default")
    parser.add_argument("--wait", type=float, default=0.0, help="seconds to wait for a day that runs there already")
    parser.add_argument("--table", action="store_true", help="only print the table of what is there")
    given = parser.parse_args(arguments)
    needed = any(step.bundle or step.plan for step in steps() if not given.steps or step.group in given.steps)
    if needed and not given.table and not given.bundles.is_dir():
        parser.error(f"--bundles {given.bundles}: no such folder; benchmarks.gpu_bundles makes one")
    return given


def _groups(text: str) -> tuple[str, ...]:
    chosen = tuple(text.split(","))
    if unknown := [name for name in chosen if name not in groups()]:
        raise argparse.ArgumentTypeError(f"there is no step {unknown[0]!r}; there are {', '.join(groups())}")
    return chosen


def _end(number: int, frame: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
