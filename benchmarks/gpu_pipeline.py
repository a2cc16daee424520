"""How fast from files to files? fsr-run over a folder of faces: rate, efficiency, bottleneck, GPU memory.

python -m benchmarks.gpu_pipeline bundles/aminet-fp16 --count 20000
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Annotated, Any

import cv2
import typer

from benchmarks.gpu_common import faces, keep, show
from fsr_deploy.bundle.info import read_bundle

SAMPLE_SECONDS = 0.5


def main(
    bundle: Annotated[Path, typer.Argument(help="a bundle with a plan")],
    count: Annotated[int, typer.Option(help="number of faces")] = 20000,
    formats: Annotated[str, typer.Option(help="of the SR faces, with commas: png, jpg")] = "png,jpg",
    batch: Annotated[str, typer.Option(help="faces per run of the engine")] = "64",
    device: Annotated[int, typer.Option(help="number of the GPU")] = 0,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="the JSON file to write")] = None,
) -> None:
    """Run fsr-run over drawn LR faces."""
    rows = []
    size = read_bundle(bundle).info.lr_size
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "lr"
        write_faces(source, count, size)
        for suffix in formats.split(","):
            rows.append(run(bundle, source, Path(folder) / f"sr-{suffix}", suffix, batch, f"cuda:{device}"))
            show(rows[-1])
    keep("pipeline", rows, output, device)


def write_faces(folder: Path, count: int, size: int) -> None:
    """Write LR faces as PNG files."""
    folder.mkdir(parents=True)
    for start in range(0, count, 1000):
        for index, face in enumerate(faces(min(1000, count - start), (size, size), start), start):
            cv2.imwrite(str(folder / f"{index:06d}.png"), face, [cv2.IMWRITE_PNG_COMPRESSION, 1])


def run(bundle: Path, source: Path, target: Path, suffix: str, batch: str, device: str) -> dict[str, Any]:
    """Return the row of one run; GPU memory is the most that nvidia-smi saw, None without it."""
    command = [sys.executable, "-m", "fsr_deploy.cli.run", str(bundle), str(source), "-o", str(target)]
    command += ["--format", suffix, "--batch", batch, "--device", device, "--no-resume", "--json"]
    start = time.perf_counter()
    with Sampler(device.removeprefix("cuda:")) as memory:
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        return {"format": suffix, "failed": f"fsr-run ended with {done.returncode}"}
    summary = json.loads(done.stdout)
    return {
        "format": suffix,
        "faces": summary["frames"]["done"],
        "seconds_with_start": time.perf_counter() - start,
        "seconds": summary["seconds"],
        **(summary["rates"] or {}),
        "gpu_mib": memory.peak,
    }


class Sampler:
    """Asks nvidia-smi for the GPU's used memory now and then, in a thread of its own."""

    def __init__(self, device: str) -> None:
        self.peak: int | None = None
        self._command = ["nvidia-smi", f"--id={device}", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Sampler:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.is_set():
            try:
                answer = subprocess.run(self._command, stdout=subprocess.PIPE, text=True, check=True, timeout=10)
            except (OSError, subprocess.SubprocessError):
                return
            self.peak = max(self.peak or 0, int(answer.stdout.split()[0]))
            self._stop.wait(SAMPLE_SECONDS)


if __name__ == "__main__":
    typer.run(main)
