"""The options of fsr-export that say how a plan is built."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer


@dataclass(frozen=True)
class PlanArguments:
    """How the plan is built."""

    rebuild: Annotated[
        Path | None,
        typer.Option("--rebuild", metavar="DIR", help="Build the plan of a bundle on this machine; needs no PyTorch."),
    ] = None
    profile: Annotated[
        list[str] | None,
        typer.Option(metavar="MIN,OPT,MAX", help="A batch range of the plan; repeatable.", show_default="--batch"),
    ] = None
    workspace: Annotated[
        float | None, typer.Option(min=0.01, metavar="GIB", help="Scratch memory of the plan.", show_default="all")
    ] = None
    level: Annotated[
        int | None, typer.Option(min=0, max=5, help="Effort of the plan's build.", show_default="TensorRT's, 3")
    ] = None
    hardware: Annotated[
        str, typer.Option(help="GPUs the plan runs on: none (this one's kind), same-compute-capability, ampere-plus.")
    ] = "none"
    version_compatible: Annotated[
        bool, typer.Option("--version-compatible", help="The plan runs on later TensorRT versions too; with --trust.")
    ] = False
    timing_cache: Annotated[
        Path | None, typer.Option(help="Kernel timings of earlier builds.", show_default="in the user's cache")
    ] = None
    device: Annotated[str, typer.Option(help="The GPU to build the plan for.")] = "cuda:0"
