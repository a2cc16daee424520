"""The README's table on this machine's CPU: model x precision x engine, latency, throughput, parity.

    python benchmarks/cpu.py export aminet work
    python benchmarks/cpu.py measure aminet work
    python benchmarks/cpu.py files aminet work
    python benchmarks/cpu.py table

Everything goes through the installed commands: fsr-export proves the engines, fsr-profile lets them and PyTorch take
turns in one run, fsr-run upscales folders of drawn LR faces. ``export`` writes bundles into a folder and leaves those
that are there as they are. ``measure`` and ``files`` need the machine to themselves for a few minutes a model, most of
it for torch.compile, and put their results beside those of other models in ``results/cpu.json``; ``table`` writes
``results/cpu.md`` from them. Models are
named as for fsr-export; all but aminet-tiny have untrained weights, on which latency does not depend.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer

from fsr_deploy.bundle.info import ONNX_NAME, read_bundle
from fsr_deploy.profiling.record import EngineProfile, ParityFigures, Profile, read_profile
from fsr_deploy.profiling.statistics import Estimate
from fsr_deploy.profiling.subjects import worst_parity
from fsr_deploy.synthetic import write_faces

RESULTS = Path(__file__).parent / "results"
TRAINED = {"aminet-tiny": Path(__file__).parents[1] / "weights" / "aminet-tiny-faces.safetensors"}
MODELS = ("aminet", "aminet-s", "mfspnet", "sparnet", "aminet-tiny")
PRECISIONS = {"fp32": (), "fp16": ("--fp16",), "int8": ("--int8",)}
TIMED = ("fp32", "int8")  # a CPU computes FP16 in FP32: only its faces are of interest
BATCHES = "1,4"
FEW, MANY = 200, 4000  # frames for fsr-run; of the long run only the memory is of interest

app = typer.Typer(add_completion=False, rich_markup_mode=None)
Model = Annotated[str, typer.Argument(help=f"one of {', '.join(MODELS)}, or another that fsr-export knows")]
Work = Annotated[Path, typer.Argument(help="folder for the bundles")]


@app.command()
def export(model: Model, work: Work) -> None:
    """Export a model in each precision; what is over its budget is left out."""
    for precision, options in PRECISIONS.items():
        bundle = work / f"{model}-{precision}"
        if not (bundle / ONNX_NAME).is_file():
            source = TRAINED.get(model, model)
            call(
                "fsr-export", source, "--target", "onnxruntime", "--batch", "1,4,8", *options, "-o", bundle, check=False
            )


@app.command()
def measure(
    model: Model,
    work: Work,
    against: Annotated[
        str, typer.Option(help="as for fsr-profile; OpenVINO comes in where installed")
    ] = "eager,compile",
    seconds: Annotated[float, typer.Option(help="time for each engine and batch size")] = 12.0,
) -> None:
    """Measure a model's engines in one run."""
    bundles = [path for precision in TIMED if (path := work / f"{model}-{precision}").is_dir()]
    if importlib.util.find_spec("openvino"):
        against += ",openvino"
    report = work / f"{model}-profile"
    options = ("--against", against, "--batches", BATCHES, "--seconds", seconds)
    call("fsr-profile", *bundles, *options, "-o", report)
    profile = read_profile(report)
    found = list(rows(profile))
    facts = {"measured": profile.measured, "machine": vars(profile.machine), "load": vars(profile.load)}
    keep(model, {**facts, "seconds": seconds, "rows": [*found, *unmeasured(model, work)]})
    print(json.dumps(found, indent=2))


@app.command()
def files(model: Model, work: Work) -> None:
    """Run fsr-run from files to files, and watch its memory in a long run of a small network."""
    found = from_files(model, work / f"{model}-fp32")
    keep(model, {"fsr-run": found})
    print(json.dumps(found, indent=2))


def keep(model: str, entry: dict[str, Any]) -> None:
    """Write what was measured of a model beside what is known of it and of the others."""
    known = results()
    known[model] = {**known.get(model, {}), **entry}
    (RESULTS / "cpu.json").write_text(json.dumps({"models": known}, indent=2) + "\n")


def results() -> dict[str, Any]:
    path = RESULTS / "cpu.json"
    return json.loads(path.read_text())["models"] if path.is_file() else {}


def rows(profile: Profile) -> Iterator[dict[str, Any]]:
    """Yield a row for each engine; rates are those of its best batch size."""
    for engine in profile.engines:
        first, best = engine.at(1), engine.best()
        assert first is not None and best is not None
        as_fast = profile.ratio("eager", engine.name, 1) if engine.name != "eager" else None
        yield {
            "precision": engine.precision,
            "engine": name(engine),
            "batch_1_ms": vars(first.latency.p50),
            "best_batch": best.batch,
            "faces_per_second": best.faces_per_second,
            "times_as_fast_as_eager": vars(as_fast) if as_fast else None,
            "parity": vars(engine.quality) if engine.quality else None,
        }


def name(engine: EngineProfile) -> str:
    """Return the library's name, with the way it runs where there are several."""
    return engine.engine.partition(" (")[0]


def unmeasured(model: str, work: Path) -> Iterator[dict[str, Any]]:
    """Yield a row for each precision that is not timed here, with its parity."""
    for precision in PRECISIONS:
        bundle = work / f"{model}-{precision}"
        if precision not in TIMED and bundle.is_dir():
            quality = worst_parity(read_bundle(bundle).info, "ONNX Runtime")
            yield {"precision": precision, "engine": "not timed", "parity": vars(quality) if quality else None}


def from_files(model: str, bundle: Path) -> dict[str, Any]:
    """Upscale few frames with the model, few and many with a small network: rates, seconds and peak memory."""
    with TemporaryDirectory() as folder:
        few, many = Path(folder) / "few", Path(folder) / "many"
        write_faces(few, FEW, lr_size=16)
        found, memory = call("fsr-run", bundle, few, "-o", Path(folder) / "sr", "--json")
        result = {**found["rates"], "seconds": found["seconds"], "peak_mib": round(memory)}
        if model in TRAINED:
            write_faces(many, MANY, lr_size=16)
            _, long = call("fsr-run", bundle, many, "-o", Path(folder) / "sr_many", "--json")
            result |= {"frames": FEW, f"peak_mib_of_{MANY}_frames": round(long)}
    return result


def call(command: str, *arguments: object, check: bool = True) -> tuple[Any, float]:
    """Run an installed command; returns what it printed, JSON as its value, and its peak memory in MiB."""
    words = [str(Path(sys.executable).with_name(command)), *map(str, arguments)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE)
    assert process.stdout is not None
    printed = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode and check:
        sys.exit(f"{' '.join(words)} ended with {process.returncode}")
    return json.loads(printed) if "--json" in arguments else printed, usage.ru_maxrss / 1024


@app.command()
def table() -> None:
    """Write results/cpu.md from results/cpu.json."""
    known = results()
    lines = [
        "| model | precision | engine | batch 1, ms | faces/s (batch) | x eager | worst face |",
        "|---|---|---|---|---|---|---|",
        *(line(model, row) for model in sorted(known, key=order) for row in known[model]["rows"]),
        "",
        *(about(model, known[model]) for model in sorted(known, key=order)),
    ]
    (RESULTS / "cpu.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


def order(model: str) -> int:
    return MODELS.index(model) if model in MODELS else len(MODELS)


def line(model: str, row: dict[str, Any]) -> str:
    cells = [model, row["precision"], row["engine"]]
    if "batch_1_ms" in row:
        as_fast = row["times_as_fast_as_eager"]
        cells += [estimate(row["batch_1_ms"], ".3g"), f"{row['faces_per_second']:.3g} ({row['best_batch']})"]
        cells += [estimate(as_fast, ".2f") if as_fast else ""]
    else:
        cells += [""] * 3
    return f"| {' | '.join([*cells, worst(row['parity'])])} |"


def estimate(figure: dict[str, float], form: str) -> str:
    value = Estimate(**figure)
    return f"{value.value:{form}} [{value.low:{form}}, {value.high:{form}}]"


def worst(parity: dict[str, Any] | None) -> str:
    if parity is None:
        return ""
    quality = ParityFigures(**parity)
    levels = f"{quality.max_error:.0f} level{'s' * (quality.max_error > 1)}"
    return "equal" if quality.psnr_db is None else f"{quality.psnr_db:.1f} dB, {levels}"


def about(model: str, entry: dict[str, Any]) -> str:
    machine, run = entry["machine"], entry.get("fsr-run")
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    text = f"{model}: {machine['cpu']}, {machine['cores']} cores, {', '.join(machine['instructions'])}; {versions}"
    text += f"; {entry['measured'][:10]}, {entry['load']['others']:.0%} of the CPU taken by other processes."
    if run:
        text += f" fsr-run: {run['end_to_end']:.3g} faces/s, efficiency {run['efficiency']:.2f}, {run['peak_mib']} MiB."
    return text + "\n"


if __name__ == "__main__":
    app()
