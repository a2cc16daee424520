"""AMINet on this machine's CPU: PyTorch in three forms, the session, fsr-run from files to files, and its memory.

    python benchmarks/cpu.py

Everything goes through the installed commands, in one run: fsr-export proves the engine, fsr-profile lets it and
PyTorch take turns, fsr-run upscales folders of drawn LR faces. The weights are untrained; latency does not depend on
them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from fsr_deploy.faces import write_faces

RESULT = Path(__file__).parent / "results" / "cpu.json"
PYTORCH = ("eager", "channels-last", "compile")


def main(
    model: Annotated[str, typer.Option(help="the network to time")] = "aminet",
    frames: Annotated[int, typer.Option(help="frames that fsr-run upscales with it")] = 200,
    many: Annotated[int, typer.Option(help="frames of the long run that memory is watched in")] = 4000,
    batches: Annotated[str, typer.Option(help="batch sizes of the comparison")] = "1,4",
    seconds: Annotated[float, typer.Option(help="time for each engine and batch size")] = 20.0,
    output: Annotated[Path, typer.Option("--output", "-o", help="the JSON file to write")] = RESULT,
) -> None:
    """Time a network on the CPU."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        bundle, tiny = work / model, work / "tiny"
        export, _ = call("fsr-export", model, "--target", "onnx", "-o", bundle)
        call("fsr-export", "aminet-tiny", "--target", "onnx", "-o", tiny)
        profile, _ = call(
            "fsr-profile", bundle, "--against", ",".join(PYTORCH), "--batches", batches, "--seconds", seconds
        )
        write_faces(work / "few", frames, lr_size=16)
        write_faces(work / "many", many, lr_size=16)
        run, memory = call("fsr-run", bundle, work / "few")
        _, few_memory = call("fsr-run", tiny, work / "few", "-o", work / "few_tiny")
        _, many_memory = call("fsr-run", tiny, work / "many")
    result = {
        "machine": profile["machine"],
        "load": profile["load"],
        "parity": export["parity"],
        "latency": latencies(profile),
        "fsr-run": {"model": model, **run["rates"], "seconds": run["seconds"], "peak_mib": memory},
        "memory": {"model": "aminet-tiny", f"{frames}_frames_mib": few_memory, f"{many}_frames_mib": many_memory},
    }
    output.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps({key: result[key] for key in ("latency", "fsr-run", "memory")}, indent=2))


def call(name: str, *arguments: object) -> tuple[dict[str, Any], float]:
    """Run an installed command with --json; returns its summary and its peak memory in MiB."""
    words = [str(Path(sys.executable).with_name(name)), *map(str, arguments), "--json"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE)
    assert process.stdout is not None
    summary = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(words)} ended with {process.returncode}")
    return json.loads(summary), usage.ru_maxrss / 1024


def latencies(profile: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a row for each engine and batch size: median milliseconds, and how many times as long as the session."""
    session = profile["engines"][0]["name"]
    times = {(row["batch"], row["base"], row["engine"]): row["times"]["value"] for row in profile["ratios"]}
    rows = []
    for engine in profile["engines"]:
        for batch in engine["batches"]:
            size, name = batch["batch"], engine["name"]
            slower = times.get((size, session, name)) or 1 / times.get((size, name, session), 1.0)
            rows.append(
                {"engine": name, "batch": size, "p50_ms": batch["latency"]["p50"]["value"], "times_session": slower}
            )
    return rows


if __name__ == "__main__":
    typer.run(main)
