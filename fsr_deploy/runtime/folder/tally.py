"""Counting what became of each frame of a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fsr_deploy.errors import InputError
from fsr_deploy.runtime.folder.jobs import Work
from fsr_deploy.runtime.folder.sizes import SizeCount
from fsr_deploy.runtime.folder.steps import AlreadyDone, Failed, Loaded
from fsr_deploy.runtime.folder.summary import FaceCount, RunSummary
from fsr_deploy.runtime.folder.task import FaceTask, Task
from fsr_deploy.runtime.session import EngineInfo


@dataclass(frozen=True)
class Tally:
    """Counts the result of each frame and reports it: ``advance(1)`` follows each, ``notice`` gets a line for each
    failure. Without ``skip_failures``, the first failure is raised as InputError.
    """

    summary: RunSummary
    skip_failures: bool
    advance: Callable[[int], None]
    notice: Callable[[str], None]

    def written(self, frame: Loaded | Failed) -> None:
        """Count a frame that is through, or whose output could not be written."""
        if isinstance(frame, Failed):
            self.failed(frame)
            return
        self.summary.done += 1
        if frame.changes:
            self.summary.changes.update(frame.changes)
        if self.summary.faces:
            self.summary.faces.add(len(frame.faces), frame.found)
        for size in frame.sizes:
            self.summary.sizes.add(size)
        self.advance(1)

    def aside(self, outcome: AlreadyDone | Failed) -> None:
        """Count a frame that did not need the engine, or could not be read."""
        if isinstance(outcome, Failed):
            self.failed(outcome)
        else:
            self.summary.already_done += 1
            self.advance(1)

    def failed(self, failed: Failed) -> None:
        """Count a frame that could not be read or written."""
        if not self.skip_failures:
            raise InputError(f"{failed.reason} (leave out --on-error stop to go past such files)")
        self.summary.failed.append(failed)
        if not failed.told:
            self.notice(f"skipped: {failed.reason}")
        self.advance(1)


def new_summary(info: EngineInfo, work: Work, task: Task, batch: int) -> RunSummary:
    """Return the summary of a run that begins."""
    sizes = SizeCount(
        info.lr_shape,
        task.fit if isinstance(task, FaceTask) else "crop",
        info.resizable,
        "faces" if task.whole_frames else "frames",
    )
    faces = FaceCount(info.sr_shape, task.unit) if task.whole_frames else None
    return RunSummary(len(work.jobs) + len(work.listing.failed), sizes, batch, faces=faces)
