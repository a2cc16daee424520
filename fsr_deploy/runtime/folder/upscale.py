"""Folders, images and lists of paths through a session into files: what ``fsr-run`` does."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable
from dataclasses import dataclass

from fsr_deploy._util.log import progress, say
from fsr_deploy.errors import UsageError, refuse_type, refuse_unknown
from fsr_deploy.images.opencv import cv2
from fsr_deploy.images.resize import FITS, Fit
from fsr_deploy.runtime.folder.batch_sizes import choose_batch
from fsr_deploy.runtime.folder.jobs import Work, find_work
from fsr_deploy.runtime.folder.run import RunSettings, run
from fsr_deploy.runtime.folder.summary import RunSummary
from fsr_deploy.runtime.folder.task import FaceTask, Task
from fsr_deploy.runtime.session import EngineInfo, Session

# Seconds after which a thread lets another one have Python. By default it is ten times as long, in which a process that
# waits for its next faces could encode twenty of them.
SWITCH_INTERVAL = 5e-4
FORMATS = ("same", "png", "jpg", "jpeg", "webp", "bmp", "tif", "tiff")
ON_ERROR = ("skip", "stop")


@dataclass(frozen=True)
class RunOptions:
    """What a user may choose about a run; the command's options, one to one.

    ``format`` is that of the SR faces, "same" for each frame's own; ``fit`` says how frames of other proportions are
    fitted, "crop" or "stretch". ``batch`` is the number of faces per run of the engine, or "auto". ``resume`` leaves
    out what an earlier run finished, ``overwrite`` replaces files that no run wrote. ``on_error`` says what happens at
    a frame that cannot be read or written, "skip" or "stop". Raises UsageError for anything else.
    """

    format: str = "same"
    fit: Fit = "crop"
    batch: int | str = "auto"
    resume: bool = True
    overwrite: bool = False
    on_error: str = "skip"

    def __post_init__(self) -> None:
        refuse_unknown("--format", self.format, FORMATS)
        refuse_unknown("--fit", self.fit, FITS)
        refuse_unknown("--on-error", self.on_error, ON_ERROR)
        refuse_type("--resume", self.resume, bool, "True or False")
        refuse_type("--overwrite", self.overwrite, bool, "True or False")
        batch = str(self.batch)
        if batch != "auto" and not (batch.isdecimal() and int(batch) > 0):
            raise UsageError(f"--batch {batch}: give auto or a number from 1 on")

    def find(self, source: str, output: str | None, listed: Iterable[str] = ()) -> Work:
        """Return the jobs of a run; see ``find_work``."""
        return find_work(source, output, None if self.format == "same" else f".{self.format}", listed)

    def batch_for(self, engine: EngineInfo, work: Work, task: Task | None = None) -> int:
        """Return how many faces to run at a time; raises UsageError for a batch that the engine does not take."""
        faces = None if task and task.whole_frames else len(work.jobs)
        return choose_batch(engine, None if self.batch == "auto" else int(self.batch), faces)


def upscale_files(
    session: Session,
    work: Work,
    options: RunOptions,
    stop: threading.Event | None = None,
    task: Task | None = None,
    processes: int = 0,
) -> RunSummary:
    """Upscale the frames of ``work`` into its files, until ``stop`` is set; raises what ``run`` raises. ``task`` is
    what is made of each frame, None for a frame that is a face. ``processes`` decode and encode such faces, 0 stands
    for threads; new processes import the program's main module, which must do nothing then.
    """
    settings = RunSettings(
        options.batch_for(session.info, work, task),
        options.resume,
        options.overwrite,
        options.on_error == "skip",
        stop or threading.Event(),
        task or FaceTask(options.fit),
        processes,
    )
    threads, interval = cv2.getNumThreads(), sys.getswitchinterval()
    cv2.setNumThreads(1)  # there is a thread for each frame already
    sys.setswitchinterval(SWITCH_INTERVAL)
    try:
        with progress(
            "frames" if settings.task.whole_frames else "faces", len(work.jobs) + len(work.listing.failed)
        ) as advance:
            return run(session, work, settings, advance, say)
    finally:
        cv2.setNumThreads(threads)
        sys.setswitchinterval(interval)
