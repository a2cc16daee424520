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
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.gpu_common import Device, GoOn, Output, begin, end
from fsr_deploy.bundle.info import read_bundle
from fsr_deploy.synthetic import write_faces as write_drawn

SAMPLE_SECONDS = 0.5
DRAWN = 64  # different faces; drawing takes longer than upscaling


def main(
    bundle: Annotated[Path, typer.Argument(help="a bundle with a plan")],
    count: Annotated[int, typer.Option(help="number of faces")] = 20000,
    formats: Annotated[str, typer.Option(help="of the SR faces, with commas: png, jpg")] = "png,jpg",
    batch: Annotated[str, typer.Option(help="faces per run of the engine")] = "64",
    device: Device = 0,
    output: Output = None,
    go_on: GoOn = False,
) -> None:
    """Run fsr-run over drawn LR faces."""
    rows = begin("pipeline", output, device, go_on=go_on)
    with tempfile.TemporaryDirectory() as folder, rows.attempt(bundle=bundle.name):
        source = Path(folder) / "lr"
        write_faces(source, count, read_bundle(bundle).info.lr_size)
        for suffix in formats.split(","):
            key = {"bundle": bundle.name, "format": suffix, "batch": batch, "files": count}
            target = Path(folder) / f"sr-{suffix}"
            rows.measure(key, partial(run, bundle, source, target, suffix, batch, f"cuda:{device}"))
    end(rows)


def write_faces(folder: Path, count: int, size: int) -> None:
    """Write LR faces as PNG files: drawn ones, over and over, since noise makes PNG slower than any photo does."""
    drawn = [path.read_bytes() for path in write_drawn(folder, min(count, DRAWN), size)]
    for index in range(len(drawn), count):
        (folder / f"face_{index:05d}.png").write_bytes(drawn[index % len(drawn)])


def run(bundle: Path, source: Path, target: Path, suffix: str, batch: str, device: str) -> dict[str, Any]:
    """Return the figures of one run; GPU memory is the most that nvidia-smi saw, None without it.

    Raises RuntimeError where fsr-run fails; its own words are on stderr.
    """
    command = [sys.executable, "-m", "fsr_deploy.cli.run", str(bundle), str(source), "-o", str(target)]
    command += ["--format", suffix, "--batch", batch, "--device", device, "--no-resume", "--json"]
    start = time.perf_counter()
    with Sampler(device.removeprefix("cuda:")) as memory:
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"fsr-run ended with {done.returncode}; its messages are above")
    summary = json.loads(done.stdout)
    return {
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
