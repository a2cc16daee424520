"""What the GPU benchmarks share: their options, where rows go, and what is written beside every figure."""

from __future__ import annotations

import platform
import re
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks.rows import Rows
from fsr_deploy import __version__
from fsr_deploy.bundle.info import INFO_NAME
from fsr_deploy.errors import ExitCode, MissingError
from fsr_deploy.runtime.cuda.driver import find_driver, find_gpu
from fsr_deploy.runtime.tensorrt.library import load

RESULTS = Path(__file__).parent / "results"
SEED = 0

Device = Annotated[int, typer.Option(help="number of the GPU")]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="the file of JSON lines to write")]
GoOn = Annotated[bool, typer.Option("--go-on", help="measure only what the file does not have yet")]


def faces(batch: int, lr_shape: tuple[int, int], seed: int = SEED) -> Any:
    """Return random LR faces, (batch, h, w, 3) uint8: an engine's speed does not depend on what they show."""
    return np.random.default_rng(seed).integers(0, 256, (batch, *lr_shape, 3), np.uint8)


def bundles_in(folder: Path) -> list[Path]:
    """Return the bundles of a folder; hidden ones are what exports and builds leave while they work."""
    return sorted(path.parent for path in folder.glob(f"*/{INFO_NAME}") if not path.parent.name.startswith("."))


def circumstances(device: int = 0) -> dict[str, Any]:
    """Return what a figure depends on: GPU, driver, TensorRT, Python, the command."""
    driver = find_driver()
    return {
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "gpu": asdict(find_gpu(device)),
        "driver": driver.version,
        "cuda": ".".join(map(str, driver.cuda)),
        "tensorrt": load().__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "fsr_deploy": __version__,
    }


def begin(question: str, output: Path | None, device: int, *, go_on: bool) -> Rows:
    """Return where a question's rows go, by default results/gpu-QUESTION-GPU-TENSORRT.jsonl.

    Ends the benchmark with one line where there is no GPU or no TensorRT.
    """
    try:
        around = circumstances(device)
    except MissingError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        raise typer.Exit(ExitCode.MISSING) from None
    gpu = re.sub(r"[^a-z0-9]+", "-", around["gpu"]["name"].lower()).strip("-")
    path = output or RESULTS / f"gpu-{question}-{gpu}-tensorrt-{around['tensorrt']}.jsonl"
    rows = Rows(path, question, go_on=go_on)
    rows.note(around)
    return rows


def end(rows: Rows) -> None:
    """Say where the rows are; ends the benchmark with exit code 1 where something could not be measured."""
    print(f"written: {rows.path}", flush=True)
    raise typer.Exit(ExitCode.FAILED if rows.failures else ExitCode.DONE)
