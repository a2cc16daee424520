"""What OpenVINO does to a process as a whole; each test has one of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.engines import write_onnx

pytest.importorskip("openvino")


@pytest.fixture
def graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FSR_CACHE", str(tmp_path / "cache"))
    return write_onnx(tmp_path / "model.onnx")


def test_a_signal_is_heeded_after_sessions_came_and_went(graph: Path) -> None:
    """OpenVINO leaves its thread a stack for signals that is no longer there, unless its core stays."""
    code = """
import os, signal, sys
from fsr_deploy.runtime.open import open_session
one, other = (open_session(sys.argv[1], backend="openvino") for _ in range(2))
one.close(); del one
other.close(); del other
signal.signal(signal.SIGUSR1, lambda *_: print("heeded"))
os.kill(os.getpid(), signal.SIGUSR1)
"""
    command = [sys.executable, "-X", "faulthandler", "-c", code, str(graph)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "heeded\n"), done.stderr


def test_the_first_batches_of_a_process_may_run_at_the_same_time(graph: Path) -> None:
    code = f"""
import numpy as np
from concurrent.futures import ThreadPoolExecutor
from fsr_deploy.runtime.open import open_session

sessions = [open_session({str(graph)!r}, backend="openvino") for _ in range(2)]
batch = np.zeros((1, 4, 4, 3), np.uint8)
with ThreadPoolExecutor(2) as pool:
    print(len(list(pool.map(lambda session: session.upscale(batch), sessions))))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=200, check=False)
    assert done.stdout == "2\n", done.stderr
