"""The options of fsr-export that say how a plan is built."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fsr_deploy.errors import UsageError, refuse_unknown

if TYPE_CHECKING:
    from fsr_deploy.exporting.tensorrt.config import PlanOptions

OPTIONS = {"with_plan": "--plan/--no-plan", "output": "-o/--output", "list_models": "--list", "goal": "--for"}


@dataclass(frozen=True)
class PlanArguments:
    """How the plan is built."""

    rebuild: Annotated[
        Path | None,
        typer.Option("--rebuild", metavar="DIR", help="Build the plan of a bundle on this machine; needs no PyTorch."),
    ] = None
    prove: Annotated[
        Path | None,
        typer.Option("--prove", metavar="DIR", help="Prove a bundle's plan on this machine's GPU; needs no PyTorch."),
    ] = None
    gpus: Annotated[
        str | None,
        typer.Option(
            metavar="SM,SM", help="GPUs that --target rtx compiles for.", show_default="sm_80,sm_86,sm_89,sm_120,sm_121"
        ),
    ] = None
    profile: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MIN,OPT,MAX", help="A batch range of the plan; repeatable.", show_default="1 and --batch"
        ),
    ] = None
    workspace: Annotated[
        float | None, typer.Option(metavar="GIB", help="Scratch memory of the plan.", show_default="all")
    ] = None
    level: Annotated[
        int | None, typer.Option(help="Effort of the plan's build, 0 to 5.", show_default="TensorRT's, 3")
    ] = None
    tiling: Annotated[
        str, typer.Option(help="How hard the build looks for cache tiles: none, fast, moderate, full.")
    ] = "none"
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

    def options(self, flavour: str) -> PlanOptions:
        """Return how a plan is built, by the TensorRT of a flavour; raises UsageError for what does not exist."""
        from fsr_deploy.exporting.tensorrt.config import HARDWARE, PlanOptions, batch_range
        from fsr_deploy.runtime.open import parse_device

        refuse_unknown("--hardware", self.hardware, tuple(name.replace("_", "-") for name in HARDWARE))
        if not parse_device(self.device).startswith("cuda:"):
            raise UsageError(f"--device {self.device}: a plan is built for a GPU; name cuda:0, cuda:1 ...")
        return PlanOptions(
            profiles=tuple(batch_range("--profile", text) for text in self.profile or []),
            workspace_gib=self.workspace,
            level=self.level,
            tiling=self.tiling,
            hardware=self.hardware.replace("-", "_"),
            version_compatible=self.version_compatible,
            timing_cache=self.timing_cache,
            device=int(parse_device(self.device).removeprefix("cuda:")),
            flavour=flavour,
            gpus=tuple(gpu.strip() for gpu in self.gpus.split(",")) if self.gpus else (),
        )


def refuse_others(option: str, given: PlanArguments, allowed: Sequence[str]) -> None:
    """Raise UsageError for what is given beside the options that are allowed: ``option`` ignores it."""
    for field in fields(given):
        if field.name not in allowed and getattr(given, field.name) != field.default:
            name = "MODEL" if field.name == "model" else OPTIONS.get(field.name, f"--{field.name.replace('_', '-')}")
            raise UsageError(f"{option} takes a bundle as it is; leave {name} out")
