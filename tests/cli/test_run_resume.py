"""fsr-run goes on where it was ended, whatever ended it."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from fsr_deploy.images.codec import write_frame
from tests.cli.runs import COMMAND, COUNT, contents, succeed
from tests.engines import write_onnx


def test_a_second_run_does_only_what_is_missing_or_new(here: Path):
    succeed("model.onnx", "faces", "-o", "out")
    before = contents("out")
    Path("out/00.png").unlink()
    shutil.copy("faces/00.png", "faces/new.png")
    write_frame("faces/06.png", np.zeros((4, 4, 3), np.uint8))
    result = succeed("model.onnx", "faces", "-o", "out")
    assert f"out: 3 done, {COUNT - 2} done before of {COUNT + 1} in" in result.stderr
    after = contents("out")
    assert after["00.png"] == before["00.png"] == after["new.png"]
    assert after["06.png"] != before["06.png"]


def test_no_resume_does_everything_again(here: Path):
    succeed("model.onnx", "faces", "-o", "out")
    assert f"out: {COUNT} done of" in succeed("model.onnx", "faces", "-o", "out", "--no-resume").stderr


def test_another_engine_does_everything_again(here: Path):
    succeed("model.onnx", "faces", "-o", "out")
    write_onnx(Path("model.onnx"), facts={})
    assert f"out: {COUNT} done of" in succeed("model.onnx", "faces", "-o", "out").stderr


@pytest.fixture
def slow(here: Path) -> dict[str, bytes]:
    """An engine that takes its time and more frames; returns what an undisturbed run makes of them."""
    write_onnx(Path("model.onnx"), scale=32, work=12)
    rng = np.random.default_rng(1)
    for index in range(60):
        write_frame(f"faces/more/{index}.png", rng.integers(0, 256, (4, 4, 3), np.uint8))
    succeed("model.onnx", "faces", "-o", "undisturbed", "--batch", 4)
    return contents("undisturbed")


# As where there are many cores and faces.
WITH_PROCESSES = (
    sys.executable,
    "-c",
    "from fsr_deploy.runtime.folder import processes; processes.processes_for = lambda *asked: 2\n"
    "from fsr_deploy.cli.run import main; main()",
)


# Gets its Ctrl-C when the first output is in its place.
INTERRUPTED = (
    sys.executable,
    "-c",
    "import os, signal; replace = os.replace\n"
    "def interrupted(path, target):\n"
    "    replace(path, target)\n"
    "    os.replace = replace\n"
    "    os.kill(os.getpid(), signal.SIGINT)\n"
    "os.replace = interrupted\n"
    "from fsr_deploy.cli.run import main; main()",
)


def start(*arguments: str, command: Sequence[str] = COMMAND) -> subprocess.Popen[str]:
    return subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_output(process: subprocess.Popen[str], folder: str, count: int) -> None:
    while process.poll() is None and len(list(Path(folder).rglob("*.png"))) < count:
        time.sleep(0.002)


@pytest.mark.parametrize("command", [COMMAND, WITH_PROCESSES], ids=["threads", "processes"])
def test_killed_at_any_moment_and_run_again_the_bytes_are_the_same(slow: dict[str, bytes], command: Sequence[str]):
    generator = random.Random(2)
    for wanted in (1, 17, 40):
        process = start("model.onnx", "faces", "-o", "out", "--batch", "4", command=command)
        wait_for_output(process, "out", wanted)
        time.sleep(generator.uniform(0, 0.02))
        process.kill()
        process.communicate()
        whole = {name: content for name, content in contents("out").items() if name.endswith(".png")}
        assert whole.items() <= slow.items()
    process = start("model.onnx", "faces", "-o", "out", "--batch", "4", command=command)
    assert " done before" in process.communicate()[1]
    assert process.returncode == 0
    assert contents("out") == slow


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("again", [(), ("--no-resume",)])
def test_killed_while_an_output_takes_its_place_the_next_run_knows_it(here: Path, moment: str, again: tuple[str, ...]):
    """Its line is in the journal at both moments, and those of the faces that are written with it: nobody else's file
    is found there, nor is one missing for good."""
    succeed("model.onnx", "faces", "-o", "undisturbed", "--batch", 8)
    code = (
        "import os, signal, threading; replace, one = os.replace, threading.Lock()\n"
        "def killed(path, target):\n"
        "    one.acquire()\n"  # other threads have outputs to put in place too
        f"    {'replace(path, target)' if moment == 'after' else 'pass'}\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "os.replace = killed\n"
        "from fsr_deploy.cli.run import main; main()"
    )
    arguments = ("model.onnx", "faces", "-o", "out", "--batch", "8")
    for frame in (None, "faces/00.png"):  # a first run, and one that makes an output of an earlier one again
        if frame:
            write_frame(frame, np.zeros((4, 4, 3), np.uint8))
            succeed("model.onnx", "faces", "-o", "undisturbed", "--batch", 8)
        assert subprocess.run([sys.executable, "-c", code, *arguments], check=False).returncode == -signal.SIGKILL
        done = sum(name.endswith(".png") for name in contents("out"))
        assert done == (COUNT if frame else int(moment == "after"))
        succeed(*arguments, *again)
        assert contents("out") == contents("undisturbed")


def test_ctrl_c_finishes_the_batch_and_says_how_to_go_on(slow: dict[str, bytes]):
    process = start("model.onnx", "faces", "-o", "out", "--batch", "4", command=INTERRUPTED)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted: finishing the batch (press Ctrl-C again to stop at once)" in stderr
    assert "run the same command again to go on with the frames that are left" in stderr
    done = contents("out")
    assert 0 < len(done) < len(slow)
    assert done.items() <= slow.items()
    assert f"{len(done)} done before" in succeed("model.onnx", "faces", "-o", "out", "--batch", "4").stderr
    assert contents("out") == slow
