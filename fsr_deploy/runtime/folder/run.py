"""Frames in files to SR faces in files: decoding, the engine and encoding at the same time, in order."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field

from fsr_deploy._util.cores import usable_cores
from fsr_deploy.runtime.batches import Batches
from fsr_deploy.runtime.folder.batch_sizes import batches_to_accept, note_halving
from fsr_deploy.runtime.folder.jobs import Work
from fsr_deploy.runtime.folder.journal import Journal, made_with
from fsr_deploy.runtime.folder.outputs import look_at, refuse_to_replace
from fsr_deploy.runtime.folder.pipeline import CODEC_THREADS_PER_CORE, Pipeline
from fsr_deploy.runtime.folder.processes import FACES_AT_A_TIME, begin_processes
from fsr_deploy.runtime.folder.rates import report
from fsr_deploy.runtime.folder.steps import Failed, Load
from fsr_deploy.runtime.folder.summary import RunSummary
from fsr_deploy.runtime.folder.tally import Tally, new_summary
from fsr_deploy.runtime.folder.task import FaceTask, Task
from fsr_deploy.runtime.folder.write import WriteFaces
from fsr_deploy.runtime.session import Session


@dataclass(frozen=True)
class RunSettings:
    """How to run. ``batch`` is the number of faces per run of the engine. ``resume`` skips what the journal has,
    ``overwrite`` replaces files that no run wrote, ``skip_failures`` continues after frames that cannot be read or
    written. The run ends when ``stop`` is set. ``task`` is what is made of each frame. ``processes`` decode and encode
    frames that are faces; 0 stands for threads.
    """

    batch: int
    resume: bool = True
    overwrite: bool = False
    skip_failures: bool = True
    stop: threading.Event = field(default_factory=threading.Event)
    task: Task = field(default_factory=FaceTask)
    processes: int = 0


def run(
    session: Session,
    work: Work,
    settings: RunSettings,
    advance: Callable[[int], None] = lambda count: None,
    notice: Callable[[str], None] = lambda line: None,
) -> RunSummary:
    """Upscale all frames of ``work``; ``advance(1)`` follows each frame, ``notice`` gets a line for each event.

    Raises InputError, before anything is done, where an output would replace a file that no run wrote or that was
    changed since; for a folder or disk that cannot be written; and, without ``skip_failures``, for the first frame that
    cannot be read or written. Raises MissingError where not even one face fits into the device's memory.
    """
    info, task = session.info, settings.task
    summary = new_summary(info, work, task, settings.batch)
    tally = Tally(summary, settings.skip_failures, advance, notice)
    with ExitStack() as stack:
        journal = Journal(work.folder) if work.folder else None
        if journal:
            stack.callback(journal.close)
        start = time.perf_counter()
        codecs = CODEC_THREADS_PER_CORE * usable_cores()
        pipeline = Pipeline(codecs, session.in_flight, settings.stop)
        stack.callback(pipeline.close)
        # Whole frames take too much memory to read many of them ahead.
        ahead = codecs if task.whole_frames else settings.batch + 2 * codecs
        places = look_at(task.targets(work), journal, lambda step, items: pipeline.in_order(step, items, ahead))
        if not settings.overwrite:
            refuse_to_replace(places, work)
        for path, reason in work.listing.failed:
            tally.failed(Failed(path, f"{path}: {reason}"))

        made = made_with(info, task.recipe)
        accepted = batches_to_accept(journal, made, settings.batch, settings.resume, notice)
        load = task.reader(info, journal if settings.resume else None, made, accepted)
        batches = Batches(session, accepted[0], note_halving(journal, made, settings.batch, notice))
        write = task.writer(info, journal, work, made, None if settings.overwrite else places.taken)
        # Fewer than a batch: a slow engine's faces are on the disk before its next ones are begun.
        at_a_time = 1 if task.whole_frames else max(1, min(FACES_AT_A_TIME, settings.batch // 2))
        processes = None
        if settings.processes and isinstance(load, Load) and isinstance(write, WriteFaces):
            processes = begin_processes(settings.processes, load, at_a_time, notice)
        if processes and isinstance(write, WriteFaces):
            outcomes = pipeline.run_in_processes(processes, work.jobs, batches, write, tally.aside, ahead)
        else:
            outcomes = pipeline.run(work.jobs, load, batches, write.all, tally.aside, ahead, at_a_time)
        for outcome in outcomes:
            tally.written(outcome)
        if not settings.stop.is_set():
            task.close(journal)
    summary.batch = batches.size
    summary.seconds = time.perf_counter() - start
    summary.stages = report(pipeline.stages, summary.done, summary.seconds)
    return summary
