"""What fsr-run takes for a cluster, and the run on one."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from fsr_deploy._util.console import print_json
from fsr_deploy._util.log import say
from fsr_deploy.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from fsr_deploy.cluster.options import ClusterOptions
    from fsr_deploy.runtime.folder.jobs import Work
    from fsr_deploy.runtime.folder.upscale import RunOptions


@dataclass(frozen=True, kw_only=True)
class ClusterArguments:
    """Where to run."""

    cluster: Annotated[
        str | None,
        typer.Option(
            metavar="local|auto|ADDRESS",
            help="Run on a Ray cluster: one that is started here, this machine's, or the one of HOST:PORT.",
        ),
    ] = None

    def refuse_on_cluster(self, source: str, film: bool, whole_frames: bool, tile: str | None) -> None:
        """Raise UsageError for what runs on one machine only."""
        if self.cluster is None:
            return
        if film:
            raise UsageError(f"--cluster {self.cluster}: is for folders of faces, and {source} is a film")
        if whole_frames or tile is not None:
            option = "--tile" if tile is not None else "--boxes and --find-faces"
            raise UsageError(
                f"--cluster {self.cluster}: is for frames that are faces; leave out {option}, or --cluster"
            )


def run_on_cluster(cluster: ClusterOptions, work: Work, options: RunOptions, json: bool) -> ExitCode:
    """Upscale a folder on a cluster."""
    from fsr_deploy.cluster.run import upscale_on_cluster
    from fsr_deploy.runtime.folder.summary import as_dict, conclude

    done = upscale_on_cluster(cluster, work, options)
    conclude(done.summary, work)
    if done.summary.done:
        say(f"{done.summary.done / done.summary.seconds:.1f} faces/s end to end, actors {done.allocation.actors}")
    say(f"what became of each file: {done.status}")
    if json:
        about = {"address": cluster.address, **asdict(done.allocation), "died": done.died, "status": str(done.status)}
        print_json({**as_dict(done.info, work, done.summary), "cluster": about})
    if done.interrupted:
        return ExitCode.INTERRUPTED
    return ExitCode.PARTIAL if done.summary.failed else ExitCode.DONE
