"""What the machine is: GPU, driver, clocks, Pythons and their libraries, as rows."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.other_python import clean_environment
from benchmarks.rows import Rows

SECONDS = 10
GPU = "name,driver_version,memory.total,clocks.sm,clocks.max.sm,power.limit,pstate,compute_mode,mig.mode.current"
TENSORRT = "import tensorrt; print(tensorrt.__version__)"
TORCH = "import torch; print(torch.__version__, 'CUDA', torch.version.cuda, torch.cuda.is_available())"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Say what this machine is.")
    parser.add_argument("--torch", default="", help="the Python with PyTorch")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the file of JSON lines to write")
    parser.add_argument("--go-on", action="store_true", help="ask only what the file does not say yet")
    given = parser.parse_args(arguments)
    rows = Rows(given.output, "facts", go_on=given.go_on)

    def ask(fact: str, command: list[str], environment: dict[str, str] | None = None) -> None:
        rows.measure({"fact": fact}, lambda: {"value": answer(command, environment)})

    rows.measure({"fact": "system"}, lambda: {"value": f"{platform.platform()}, {os.cpu_count()} cores"})
    rows.measure({"fact": "python"}, lambda: {"value": f"{platform.python_version()}, {sys.executable}"})
    rows.measure({"fact": "disk"}, lambda: {"value": f"{shutil.disk_usage(given.output.parent).free >> 30} GiB free"})
    ask("gpu", ["nvidia-smi", f"--query-gpu={GPU}", "--format=csv,noheader"])
    ask("tensorrt", [sys.executable, "-c", TENSORRT])
    if given.torch:
        ask("torch", [given.torch, "-c", TORCH], clean_environment())
    return 0


def answer(command: list[str], environment: dict[str, str] | None = None) -> str:
    """Return what a command prints, or in its place why it prints nothing."""
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=SECONDS, env=environment
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"no answer: {error}"
    lines = done.stdout.strip().splitlines() or [f"ended with {done.returncode}"]
    return "; ".join(lines) if done.returncode == 0 else f"no answer: {lines[-1]}"


if __name__ == "__main__":
    sys.exit(main())
