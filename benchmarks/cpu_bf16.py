"""Engines for a CPU with BF16 or VNNI beside PyTorch in BF16 and OpenVINO in BF16 on the graph as PyTorch exports it.

    fsr-export aminet --target openvino --bf16 --batch 1,2,4 -o b
    fsr-export aminet --target openvino --int8 --bf16 --batch 1,2,4 -o ib
    python -m benchmarks.cpu_bf16 b ib

All take turns in one run. Two ratios are what the CPU is to show: how much faster the fastest engine is than the
fastest of the others' ("times_others"), and than the first one named ("times_first"). Rows go to
results/cpu_bf16.jsonl, after those of earlier runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import torch
import typer

from benchmarks.rows import append_row, show
from fsr_deploy.bundle.info import BundleInfo, read_bundle
from fsr_deploy.exporting.graph.deployable import Deployable
from fsr_deploy.exporting.graph.onnx_writer import export_onnx
from fsr_deploy.exporting.rewrite.rewrites import rewrite
from fsr_deploy.models import registry
from fsr_deploy.profiling.baselines import open_baseline
from fsr_deploy.profiling.collect import Request, collect
from fsr_deploy.profiling.record import Profile
from fsr_deploy.profiling.statistics import Estimate
from fsr_deploy.profiling.subjects import Subject
from fsr_deploy.runtime.open import open_session

RESULTS = Path(__file__).parent / "results" / "cpu_bf16.jsonl"
WAYS = ("compile-bf16", "autocast-bf16", "eager")
UNTOUCHED = "openvino-bf16, untouched graph"


def main(
    bundles: Annotated[list[Path], typer.Argument(help="bundles of one network from fsr-export", show_default=False)],
    batches: Annotated[str, typer.Option(help="faces at a time, with commas")] = "1,4",
    seconds: Annotated[float, typer.Option(help="time for each engine and batch size")] = 6.0,
    ways: Annotated[str, typer.Option(help="of PyTorch, with commas")] = ",".join(WAYS),
    output: Annotated[Path, typer.Option("--output", "-o", help="the file of rows")] = RESULTS,
) -> None:
    """Time the engines, and print and keep a row for each at each batch size."""
    sizes = [int(size) for size in batches.split(",")]
    info = read_bundle(bundles[0]).info
    with TemporaryDirectory() as folder:
        path = untouched(info, Path(folder) / "model.onnx", max(sizes))
        subjects = [Subject(bundle.name, open_session(bundle, "cpu")) for bundle in bundles]
        subjects += [Subject(way, open_baseline(info, way, "cpu")) for way in ways.split(",") if way]
        subjects.append(Subject(UNTOUCHED, open_session(path, "cpu", backend="openvino-bf16")))
        profile = collect(subjects, Request(sizes, seconds, say=print, warn=print))
    facts = {
        "of": info.model,
        "measured": profile.measured,
        "machine": vars(profile.machine),
        "load": vars(profile.load),
    }
    append_row(output, {"circumstances": facts})
    quality = {bundle.name: read_bundle(bundle).info for bundle in bundles}
    for row in rows(profile, sizes, quality):
        append_row(output, row)
        show(row)


def untouched(info: BundleInfo, path: Path, most: int) -> Path:
    """Write the graph of a bundle's network without a rewrite, with random weights."""
    torch.manual_seed(0)
    network = rewrite(registry.build(info.model, **info.options), "openvino", [])
    deployable = Deployable(network, info.lr_size, registry.find(info.model).upsampling).eval()
    export_onnx(deployable, path, lr_size=info.lr_size, batches=(1, 1, most), precision="fp32", target="openvino")
    return path


def rows(profile: Profile, sizes: list[int], bundles: dict[str, BundleInfo]) -> Iterator[dict[str, Any]]:
    """Yield the milliseconds of each engine at each size, and how many times as fast as others it is."""
    others = [engine.name for engine in profile.engines if engine.name not in bundles]
    for size in sizes:
        ms = {engine.name: one.latency.p50 for engine in profile.engines if (one := engine.at(size))}
        best = min((name for name in others if name in ms), key=lambda name: ms[name].value, default="")
        for engine in (engine for engine in profile.engines if engine.name in ms):
            row = {"model": next(iter(bundles.values())).model, "engine": engine.name, "batch": size}
            row |= {"precision": engine.precision, "runs": engine.engine, "ms": figures(ms[engine.name])}
            if engine.name in bundles:
                for key, other in (("times_others", best), ("times_first", next(iter(bundles)))):
                    times = profile.ratio(other, engine.name, size) if other != engine.name else None
                    row[key] = figures(times)
                parity = bundles[engine.name].parity
                row["psnr_db"] = min((one["psnr_db"] for one in parity if one["psnr_db"] is not None), default=None)
                row["best_other"] = best
            yield row


def figures(estimate: Estimate | None) -> list[float] | None:
    """Return a figure and its interval of 95 %."""
    return [round(figure, 3) for figure in (estimate.value, estimate.low, estimate.high)] if estimate else None


if __name__ == "__main__":
    typer.run(main)
