"""The options of fsr-export that ask for the fastest engine of this machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer


@dataclass(frozen=True)
class FastestArguments:
    """Whether the fastest engine is wanted, and for what."""

    fastest: Annotated[
        bool,
        typer.Option(
            "--fastest", help="Build what this machine can run, time it in turns, publish the fastest within budget."
        ),
    ] = False
    goal: Annotated[
        str | None,
        typer.Option("--for", help="What --fastest times: latency or throughput.", show_default="latency"),
    ] = None
