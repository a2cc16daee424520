"""A build in a process of its own, seen from the process that wants the plan.

TensorRT's compilers can end the whole process, do not heed Ctrl-C, and tell one build's messages in another's. The
child reads a request from its standard input, one line of JSON, and answers on standard output, a line of JSON for
each thing it has to say. The end of its standard input ends it: nobody waits for the plan then.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from fsr_deploy import errors
from fsr_deploy._util.json_records import decode
from fsr_deploy._util.log import say, warn
from fsr_deploy.bundle.info import PlanInfo
from fsr_deploy.errors import InputError, MissingError
from fsr_deploy.exporting.tensorrt.config import PlanOptions, Range
from fsr_deploy.exporting.tensorrt.kernels import Kernels
from fsr_deploy.runtime.tensorrt.flavour import FLAVOURS

# Isolated, so that no file of the current directory is taken for a module; it finds modules where this process does.
START = "import sys; sys.path[:] = sys.argv[1:]; from fsr_deploy.exporting.tensorrt.worker import main; main()"
STOP = "stop\n"
GRACE_SECONDS = 10  # for the build to come to an end by itself, so that its timings can be kept
LAST_WORDS = 300


@dataclass(frozen=True)
class BuildRequest:
    """What is to be built: the files of graph and plan, and the other parameters of ``build_plan``.

    ``precision_map`` and ``io`` are the bundle's; they tell which modules stay in FP32.
    """

    graph: Path
    plan: Path
    precision: str
    batches: Range
    options: PlanOptions
    precision_map: dict[str, dict[str, str]]
    io: str = "uint8"


@dataclass(frozen=True)
class Answer:
    """What was built: what the plan is bound to, how long it took, and its kernels where TensorRT tells."""

    info: PlanInfo
    seconds: float
    kernels: Kernels | None = None


def build(request: BuildRequest) -> Answer:
    """Build a plan in a child process, which writes it to ``request.plan``; raises what ``build_plan`` raises.

    A child that is ended by the compiler, or by the system, raises InputError or MissingError with its last words.
    """
    with tempfile.TemporaryFile() as words:
        command = [sys.executable, "-I", "-c", START, *(path for path in sys.path if path)]
        child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=words, text=True, **_apart()
        )
        assert child.stdin is not None
        try:
            child.stdin.write(json.dumps(asdict(request), default=str) + "\n")
            child.stdin.flush()
            answer = _listen(child)
        except BrokenPipeError:  # it ended before it could read
            answer = None
        except KeyboardInterrupt:
            _stop(child)
            raise
        finally:
            child.kill()
            child.wait()
            for stream in (child.stdin, child.stdout):
                _close(stream)
        if answer is None:
            raise _ended(request, child.returncode, words)
        return answer


def _apart() -> dict[str, Any]:
    """Return the way to start a process that the terminal's Ctrl-C does not reach: its parent passes it on."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
    return {"start_new_session": True}


def _listen(child: subprocess.Popen[str]) -> Answer | None:
    """Pass on what the child says until it has answered; returns None where it ends without."""
    assert child.stdout is not None
    for line in child.stdout:
        kind, value = json.loads(line)
        if kind == "say":
            say(value)
        elif kind == "warn":
            warn(value)
        elif kind == "interrupted":
            raise KeyboardInterrupt
        elif kind == "error":
            raise getattr(errors, value[0])(value[1])
        else:
            child.wait()
            answer: Answer = decode(Answer, value, "")
            return answer
    child.wait()
    return None


def _stop(child: subprocess.Popen[str]) -> None:
    """Ask the child to end, and wait for it a little; a second Ctrl-C ends the wait."""
    assert child.stdin is not None and child.stdout is not None
    try:
        child.stdin.write(STOP)
        child.stdin.flush()
        child.wait(GRACE_SECONDS)
    except (OSError, ValueError, subprocess.TimeoutExpired, KeyboardInterrupt):
        return


def _ended(request: BuildRequest, code: int, words: IO[bytes]) -> InputError | MissingError:
    title = FLAVOURS[request.options.flavour].title
    words.seek(max(0, words.seek(0, os.SEEK_END) - LAST_WORDS))
    last = " ".join(words.read().decode(errors="replace").split())
    how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    said = f"; its last words: {last}" if last else ""
    if how == "SIGKILL":
        return MissingError(
            f"{request.graph.name}: the build was ended by the system ({how}), for lack of memory most likely; "
            "close other programs, or take a smaller --batch"
        )
    return InputError(f"{request.graph.name}: {title} broke down over this graph ({how}){said}")


def _close(stream: IO[str] | None) -> None:
    try:
        if stream is not None:
            stream.close()
    except OSError:  # what was written to a child that is gone
        pass
