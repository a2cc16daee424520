"""Does it build? Build the plan of each bundle twice, without and with the timings of the first build, and prove it.

    python -m benchmarks.gpu_build bundles/aminet-fp16 bundles/mfspnet-fp16

A plan over the bundle's parity budget is kept all the same, for benchmarks.gpu_parity to look into; its row says so.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.gpu_common import keep, show
from fsr_deploy.bundle.info import PLAN_NAME
from fsr_deploy.errors import FsrError
from fsr_deploy.exporting.tensorrt.config import PlanOptions
from fsr_deploy.exporting.tensorrt.rebuild import rebuild_plan

PROFILES = "1,1,1;2,32,32;33,64,128"


def main(
    bundles: Annotated[list[Path], typer.Argument(help="bundles from benchmarks.gpu_bundles")],
    profiles: Annotated[str, typer.Option(help="MIN,OPT,MAX of each profile, with semicolons")] = PROFILES,
    level: Annotated[int | None, typer.Option(help="builder effort, 0 to 5")] = None,
    device: Annotated[int, typer.Option(help="number of the GPU")] = 0,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="the JSON file to write")] = None,
) -> None:
    """Build plans and say how long it took."""
    ranges = tuple(_range(text) for text in profiles.split(";"))
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        options = PlanOptions(profiles=ranges, level=level, timing_cache=Path(folder) / "timings", device=device)
        for bundle in bundles:
            rows.append(build(bundle, options))
            show(rows[-1])
    keep("build", rows, output, device)


def build(directory: Path, options: PlanOptions) -> dict[str, Any]:
    """Return one row: seconds of both builds, the plan's size and its parity, or why there is no plan."""
    assert options.timing_cache is not None
    fresh = replace(
        options, timing_cache=options.timing_cache.with_name(f"{directory.name}-{options.timing_cache.name}")
    )
    seconds = []
    try:
        for _ in range(2):
            start = time.perf_counter()
            info = rebuild_plan(directory, fresh, force=True)
            seconds.append(time.perf_counter() - start)
    except FsrError as error:
        return {"bundle": directory.name, "failed": str(error)}
    parity = [row for row in info.parity if row["engine"].startswith("TensorRT")]
    return {
        "bundle": directory.name,
        "first_build_s": seconds[0],
        "second_build_s": seconds[1],
        "plan_mib": (directory / PLAN_NAME).stat().st_size / 2**20,
        "worst_psnr_db": min((row["psnr_db"] for row in parity if row["psnr_db"] is not None), default=None),
        "max_error_levels": max(row["max_error"] for row in parity),
        "within_budget": info.parity_passed,
    }


def _range(text: str) -> tuple[int, int, int]:
    low, best, high = (int(part) for part in text.split(","))
    return low, best, high


if __name__ == "__main__":
    typer.run(main)
