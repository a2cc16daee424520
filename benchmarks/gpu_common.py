"""What the GPU benchmarks share: where results go and what is written beside every figure."""

from __future__ import annotations

import json
import platform
import re
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from fsr_deploy import __version__
from fsr_deploy.runtime.cuda.driver import find_driver, find_gpu
from fsr_deploy.runtime.tensorrt.library import load

RESULTS = Path(__file__).parent / "results"
SEED = 0


def faces(batch: int, lr_shape: tuple[int, int], seed: int = SEED) -> Any:
    """Return random LR faces, (batch, h, w, 3) uint8: an engine's speed does not depend on what they show."""
    return np.random.default_rng(seed).integers(0, 256, (batch, *lr_shape, 3), np.uint8)


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


def keep(question: str, rows: list[dict[str, Any]], output: Path | None, device: int = 0) -> Path:
    """Write a question's rows with their circumstances, by default to results/gpu-QUESTION-GPU-TENSORRT.json."""
    around = circumstances(device)
    gpu = re.sub(r"[^a-z0-9]+", "-", around["gpu"]["name"].lower()).strip("-")
    path = output or RESULTS / f"gpu-{question}-{gpu}-tensorrt-{around['tensorrt']}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"question": question, **around, "rows": rows}, indent=2) + "\n", encoding="utf-8")
    print(f"written: {path}")
    return path


def show(row: dict[str, Any]) -> None:
    """Print a row as soon as it is measured."""
    print("  ".join(f"{key} {_short(value)}" for key, value in row.items()), flush=True)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
