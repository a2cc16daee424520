"""Many faces on a CPU: fsr-run over one folder with several engines, taking turns.

    python benchmarks/many_faces.py ort ov
    python benchmarks/many_faces.py ort ov ov:openvino-bf16

An engine is a bundle, run with what it was proven with, or a bundle and a back end of fsr-run. ONNX Runtime gives each
face a core of its own, OpenVINO a stream. Each turn is a run of the command, from files to files, into a new folder.
The rate is that of the whole run, start-up of the engine excluded, and the ratio to the first engine is paired by turn,
with its interval of 95 % from 6 turns on.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from fsr_deploy.bundle.info import read_bundle
from fsr_deploy.profiling.statistics import paired_ratio
from fsr_deploy.runtime.machine import machine
from fsr_deploy.synthetic import write_faces


def main(
    engines: Annotated[list[str], typer.Argument(help="bundles of fsr-export, or BUNDLE:BACKEND", show_default=False)],
    count: Annotated[int, typer.Option(help="frames in the folder")] = 200,
    turns: Annotated[int, typer.Option(help="runs of each engine")] = 8,
) -> None:
    """Print each engine's rate and its ratio to that of the first one."""
    rates: dict[str, list[float]] = {engine: [] for engine in engines}
    with TemporaryDirectory() as folder:
        frames = Path(folder) / "frames"
        write_faces(frames, count, lr_size=read_bundle(Path(engines[0].partition(":")[0])).info.lr_size)
        for number, engine in enumerate(engines):  # proves it and compiles, where that is not kept from an earlier run
            run(engine, frames, Path(folder) / f"first-{number}")
        for turn in range(turns):
            for number, engine in list(enumerate(engines))[:: 1 if turn % 2 else -1]:
                rates[engine].append(run(engine, frames, Path(folder) / f"{turn}-{number}"))
    facts = machine()
    print(f"{facts.cpu}, {facts.cores} cores, {' '.join(facts.instructions)}; {count} frames, {turns} turns")
    for engine in engines:
        print(row(engine, rates[engine], rates[engines[0]]))


def run(engine: str, frames: Path, output: Path) -> float:
    """Return the faces per second of one run of fsr-run."""
    bundle, _, backend = engine.partition(":")
    command = [sys.executable, "-m", "fsr_deploy.cli.run", bundle, str(frames), "-o", str(output), "--device", "cpu"]
    command += ["--json", *(["--backend", backend] if backend else [])]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return float(json.loads(done.stdout)["rates"]["end_to_end"])


def row(engine: str, rates: list[float], first: list[float]) -> str:
    """Return an engine's median rate, and how many times as fast as the first one it is."""
    times = paired_ratio([[rate] for rate in rates], [[rate] for rate in first])
    return f"{engine}: {median(rates):.1f} faces/s, {times.value:.2f}x [{times.low:.2f}, {times.high:.2f}]"


if __name__ == "__main__":
    typer.run(main)
