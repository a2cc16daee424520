"""The options of fsr-export that say how a plan is built."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fsr_deploy.errors import UsageError

Rebuild = Annotated[
    Path | None,
    typer.Option("--rebuild", metavar="DIR", help="Build the plan of a bundle on this machine; needs no PyTorch."),
]
Profile = Annotated[
    list[str] | None,
    typer.Option(metavar="MIN,OPT,MAX", help="A batch range of the plan; repeatable.", show_default="--batch"),
]
Workspace = Annotated[
    float | None, typer.Option(min=0.01, metavar="GIB", help="Scratch memory of the plan.", show_default="all")
]
Level = Annotated[
    int | None, typer.Option(min=0, max=5, help="Effort of the plan's build.", show_default="TensorRT's, 3")
]
Hardware = Annotated[
    str, typer.Option(help="GPUs the plan runs on: none (this one's kind), same-compute-capability, ampere-plus.")
]
VersionCompatible = Annotated[
    bool, typer.Option("--version-compatible", help="The plan runs on later TensorRT versions too; with --trust.")
]
TimingCache = Annotated[
    Path | None, typer.Option(help="Kernel timings of earlier builds.", show_default="in the user's cache")
]
Device = Annotated[str, typer.Option(help="The GPU to build the plan for.")]

OF_A_PLAN = ("profile", "workspace", "level", "hardware", "version_compatible", "timing_cache", "device")
THESE = ("rebuild", "force", "json", *OF_A_PLAN)


def refuse_others(context: typer.Context) -> None:
    """Raise UsageError where something was given that a rebuild does not look at."""
    for parameter in context.command.params:
        name = parameter.name or ""
        source = context.get_parameter_source(name)
        if name not in THESE and source is not None and source.name == "COMMANDLINE":
            is_argument = parameter.param_type_name == "argument"
            given = name.upper() if is_argument else "/".join([*parameter.opts, *parameter.secondary_opts])
            raise UsageError(f"--rebuild builds the plan of a bundle as it is; leave {given} out")
