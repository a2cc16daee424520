"""What fsr-run loads, and how much memory it takes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.engines import write_onnx


def test_help_loads_nothing_heavy_and_shows_three_examples():
    code = (
        "import sys, atexit; from fsr_deploy.cli.run import main;"
        "heavy = {'torch', 'onnx', 'onnxruntime', 'cv2', 'numpy', 'rich'};"
        "atexit.register(lambda: print(sorted(heavy & set(sys.modules))));"
        "main(['--help'])"
    )
    lines = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.splitlines()
    assert lines[-1] == "[]"
    assert sum(line.strip().startswith(("fsr-run ", "find ")) for line in lines) == 3


def test_a_whole_run_loads_neither_torch_nor_onnx(here: Path):
    code = (
        "import sys, atexit; from fsr_deploy.cli.run import main;"
        "heavy = {'torch', 'onnx', 'PIL.Image'};"
        "atexit.register(lambda: print(sorted(heavy & set(sys.modules)), 'cv2' in sys.modules));"
        "main()"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, "model.onnx", "faces", "-o", "out"], capture_output=True, text=True
    )
    assert (result.returncode, result.stdout) == (0, "[] True\n")


def peak_memory(count: int) -> int:
    """Return the peak memory in bytes of a run over so many frames."""
    frames = Path(f"frames{count}")
    frames.mkdir()
    for index in range(count):
        os.link("faces/00.png", frames / f"{index}.png")
    code = (
        "import resource, atexit; from fsr_deploy.cli.run import main;"
        "atexit.register(lambda: print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss));"
        "main()"
    )
    arguments = ("model.onnx", str(frames), "--batch", "4", "--format", "bmp")
    result = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    return int(result.stdout) * 1024


def test_memory_does_not_grow_with_the_number_of_frames(here: Path):
    face = 32 * 32 * 3
    assert peak_memory(1200) - peak_memory(200) < 1000 * face * 0.8


@pytest.mark.slow
def test_memory_is_flat_between_200_and_4000_frames(here: Path):
    write_onnx(Path("model.onnx"), scale=32)
    face = 128 * 128 * 3
    assert peak_memory(4000) - peak_memory(200) < 3800 * face * 0.1
