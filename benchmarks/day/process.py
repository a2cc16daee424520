"""A process with a time limit, that is ended with all it started, and does not outlive whoever started it."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

MARK = "FSR_GPU_DAY"  # a variable that all processes of a day have: its folder
POLITE_SECONDS = 3.0  # from SIGTERM to SIGKILL
PATIENCE_SECONDS = 3.0  # from SIGKILL to leaving a process behind: what a driver holds cannot be killed
POLL_SECONDS = 0.05
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Ended:
    """How a process ended: "ended", "cut off" or "left behind"; its exit code, negative for a signal; its seconds."""

    how: str
    code: int | None
    seconds: float


def run(
    command: Sequence[str], environment: Mapping[str, str], folder: Path, log: Path, seconds: float, mark: str
) -> Ended:
    """Run a command for at most so many seconds, its output into ``log``; all that it starts carries the mark.

    Raises OSError where it cannot be started.
    """
    start = time.monotonic()
    with log.open("ab") as stream:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            env={**environment, MARK: mark},
            cwd=folder,
            start_new_session=True,
            preexec_fn=_die_with_parent if sys.platform == "linux" else None,  # safe: there are no threads here
        )
    try:
        how = "ended" if _ends(process, seconds) else "cut off" if _stop(process, mark) else "left behind"
        return Ended(how, process.returncode, time.monotonic() - start)
    finally:
        kill_marked(mark)


def end_marked(mark: str) -> list[int]:
    """Kill all processes with a mark, those of a day that was killed; return those that cannot be killed."""
    end = time.monotonic() + PATIENCE_SECONDS
    while (left := kill_marked(mark)) and time.monotonic() < end:
        time.sleep(POLL_SECONDS)
    return left


def kill_marked(mark: str) -> list[int]:
    """Send SIGKILL to each process with a mark, whichever session it moved to; return those that there were."""
    wanted = f"{MARK}={mark}".encode()
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # another user's, or one that has just ended
            if wanted in (entry / "environ").read_bytes().split(b"\0") and int(entry.name) != os.getpid():
                found.append(int(entry.name))
                os.kill(found[-1], signal.SIGKILL)
    return found


def _ends(process: subprocess.Popen[bytes], seconds: float) -> bool:
    with suppress(subprocess.TimeoutExpired):
        process.wait(max(0.0, seconds))
    return process.returncode is not None


def _stop(process: subprocess.Popen[bytes], mark: str) -> bool:
    """Ask a process to end, then make it; tell whether it did."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    if _ends(process, POLITE_SECONDS):
        return True
    kill_marked(mark)
    return _ends(process, PATIENCE_SECONDS)


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
