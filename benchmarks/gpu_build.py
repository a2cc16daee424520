"""Does it build? Build the plan of each bundle twice, without and with the timings of the first build, and prove it.

    python -m benchmarks.gpu_build bundles/aminet-fp16 bundles/mfspnet-fp16
    python -m benchmarks.gpu_build bundles/aminet-fp16 --timing-cache timings --level 1

With ``--timing-cache`` it is built once, with the timings of that file, which keeps those of this build. A plan over
the bundle's parity budget is kept all the same, for benchmarks.gpu_parity to look into; its row says so.
"""

from __future__ import annotations

import logging
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.gpu_common import Device, GoOn, Output, begin, end
from fsr_deploy._util.console import on_terminal
from fsr_deploy._util.log import LOGGER
from fsr_deploy.bundle.info import PLAN_NAME
from fsr_deploy.exporting.tensorrt.config import PlanOptions
from fsr_deploy.exporting.tensorrt.rebuild import rebuild_plan

PROFILES = "1,1,1;2,32,32;33,64,128"


def main(
    bundles: Annotated[list[Path], typer.Argument(help="bundles from benchmarks.gpu_bundles")],
    profiles: Annotated[str, typer.Option(help="MIN,OPT,MAX of each profile, with semicolons")] = PROFILES,
    level: Annotated[int | None, typer.Option(help="builder effort, 0 to 5")] = None,
    timing_cache: Annotated[Path | None, typer.Option(help="build once, with the timings of this file")] = None,
    device: Device = 0,
    output: Output = None,
    go_on: GoOn = False,
) -> None:
    """Build plans and say how long it took."""
    rows = begin("build", output, device, go_on=go_on)
    ranges = tuple(_range(text) for text in profiles.split(";"))
    with tempfile.TemporaryDirectory() as folder:
        for bundle in bundles:
            cache = timing_cache or Path(folder) / bundle.name
            for timings in ("kept",) if timing_cache else ("none", "of the first build"):
                key = {"bundle": bundle.name, "level": level, "timings": timings}
                if not (rows.has(**key) and (bundle / PLAN_NAME).is_file()):
                    with rows.attempt(**key):
                        rows.add(
                            key, build(bundle, PlanOptions(ranges, level=level, timing_cache=cache, device=device))
                        )
    end(rows)


def build(directory: Path, options: PlanOptions) -> dict[str, Any]:
    """Return the figures of one build: its seconds with and without the proof, the plan's size and its parity."""
    with on_terminal(), _BuildClock() as clock:
        start = time.perf_counter()
        info = rebuild_plan(directory, options, force=True)
        seconds = time.perf_counter() - start
    parity = [row for row in info.parity if row["engine"].startswith("TensorRT")]
    return {
        "build_s": clock.built - start,
        "with_proof_s": seconds,
        "plan_mib": (directory / PLAN_NAME).stat().st_size / 2**20,
        "worst_psnr_db": min((row["psnr_db"] for row in parity if row["psnr_db"] is not None), default=None),
        "max_error_levels": max(row["max_error"] for row in parity),
        "within_budget": info.parity_passed,
    }


class _BuildClock(logging.Handler):
    """Knows when a plan was built and its proof began: the library says so in one message."""

    built = float("nan")

    def __enter__(self) -> _BuildClock:
        LOGGER.addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        LOGGER.removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage().startswith(f"built {PLAN_NAME}"):
            self.built = time.perf_counter()


def _range(text: str) -> tuple[int, int, int]:
    low, best, high = (int(part) for part in text.split(","))
    return low, best, high


if __name__ == "__main__":
    typer.run(main)
