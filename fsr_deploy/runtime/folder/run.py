"""Frames in files to SR faces in files: decoding, the engine and encoding at the same time, in order."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field

from fsr_deploy._util.cores import usable_cores
from fsr_deploy.errors import InputError, UsageError
from fsr_deploy.runtime.batches import Batches
from fsr_deploy.runtime.folder.jobs import Work
from fsr_deploy.runtime.folder.journal import Journal, made_with
from fsr_deploy.runtime.folder.ordered import ordered_map
from fsr_deploy.runtime.folder.outputs import look_at, refuse_to_replace
from fsr_deploy.runtime.folder.parts import Upscale, frames_in, groups, whole_frames
from fsr_deploy.runtime.folder.rates import Stage, report
from fsr_deploy.runtime.folder.sizes import SizeCount
from fsr_deploy.runtime.folder.steps import AlreadyDone, Failed, Loaded
from fsr_deploy.runtime.folder.summary import FaceCount, RunSummary
from fsr_deploy.runtime.folder.task import FaceTask, Task
from fsr_deploy.runtime.session import EngineInfo, OutOfMemory, Session

# While some threads of a codec stage wait for files or for Python, others use the cores; this makes JPEGs a third
# faster.
CODEC_THREADS_PER_CORE = 2


@dataclass(frozen=True)
class RunSettings:
    """How to run. ``batch`` is the number of faces per run of the engine. ``resume`` skips what the journal has,
    ``overwrite`` replaces files that no run wrote, ``skip_failures`` continues after frames that cannot be read or
    written. The run ends when ``stop`` is set. ``task`` is what is made of each frame.
    """

    batch: int
    resume: bool = True
    overwrite: bool = False
    skip_failures: bool = True
    stop: threading.Event = field(default_factory=threading.Event)
    task: Task = field(default_factory=FaceTask)


def choose_batch(engine: EngineInfo, wanted: int | None, faces: int | None) -> int:
    """Return the batch size: ``wanted``, or the engine's best one, and at most the number of faces, where it is known.

    Raises UsageError for a batch that the engine does not take.
    """
    if wanted and engine.max_batch and wanted > engine.max_batch:
        raise UsageError(f"--batch {wanted}: this engine takes at most {engine.max_batch}")
    batch = wanted or engine.best_batch
    return batch if faces is None else min(batch, faces)


@dataclass(frozen=True)
class _Tally:
    """Counts the result of each frame and reports it."""

    summary: RunSummary
    skip_failures: bool
    advance: Callable[[int], None]
    notice: Callable[[str], None]

    def written(self, frame: Loaded | Failed) -> None:
        if isinstance(frame, Failed):
            self.failed(frame)
            return
        self.summary.done += 1
        self.summary.changes.update(frame.changes)
        if self.summary.faces:
            self.summary.faces.add(len(frame.faces), frame.found)
        for size in frame.sizes:
            self.summary.sizes.add(size)
        self.advance(1)

    def done_before(self) -> None:
        self.summary.already_done += 1
        self.advance(1)

    def failed(self, failed: Failed) -> None:
        if not self.skip_failures:
            raise InputError(f"{failed.reason} (leave out --on-error stop to go past such files)")
        self.summary.failed.append(failed)
        self.notice(f"skipped: {failed.reason}")
        self.advance(1)


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
    summary = _summary(info, work, settings)
    tally = _Tally(summary, settings.skip_failures, advance, notice)
    with ExitStack() as stack:
        journal = Journal(work.folder) if work.folder else None
        if journal:
            stack.callback(journal.close)
        start = time.perf_counter()
        codecs = CODEC_THREADS_PER_CORE * usable_cores()
        decode, engine, encode = stages = [
            Stage("decode", codecs),
            Stage("engine", session.in_flight),
            Stage("encode", codecs),
        ]
        decoders, engines, encoders = (_pool(stack, stage) for stage in stages)
        # Whole frames take too much memory to read many of them ahead.
        ahead = codecs if task.whole_frames else settings.batch + 2 * codecs
        places = look_at(task.targets(work), journal, lambda step, items: ordered_map(decoders, step, items, ahead))
        if not settings.overwrite:
            refuse_to_replace(places, work)
        for path, reason in work.listing.failed:
            tally.failed(Failed(path, f"{path}: {reason}"))

        made = made_with(info, task.recipe)
        batches = _batches(journal, made, settings, notice)

        load = task.reader(info, journal if settings.resume else None, made, batches)
        upscale = Upscale(Batches(session, batches[0], _note_halving(journal, made, settings, notice)), settings.stop)
        write = task.writer(info, journal, work, made, None if settings.overwrite else places.taken)

        jobs = itertools.takewhile(lambda job: not settings.stop.is_set(), work.jobs)
        frames = _frames(ordered_map(decoders, decode.timed(load), jobs, ahead), tally)
        parts = groups(frames, batches[0])
        upscaled = ordered_map(engines, engine.timed(upscale, frames_in), parts, session.in_flight)
        done = whole_frames(itertools.chain.from_iterable(upscaled))
        for outcome in ordered_map(encoders, encode.timed(write), done, ahead):
            tally.written(outcome)
        if not settings.stop.is_set():
            task.close(journal)
    summary.batch = upscale.batches.size
    summary.seconds = time.perf_counter() - start
    summary.stages = report(stages, summary.done, summary.seconds)
    return summary


def _summary(info: EngineInfo, work: Work, settings: RunSettings) -> RunSummary:
    task = settings.task
    sizes = SizeCount(
        info.lr_shape,
        task.fit if isinstance(task, FaceTask) else "crop",
        info.resizable,
        "faces" if task.whole_frames else "frames",
    )
    faces = FaceCount(info.sr_shape, task.unit) if task.whole_frames else None
    return RunSummary(len(work.jobs) + len(work.listing.failed), sizes, settings.batch, faces=faces)


def _batches(journal: Journal | None, made: str, settings: RunSettings, notice: Callable[[str], None]) -> Sequence[int]:
    """Return the batch to begin with, then the batches of earlier runs whose faces count as done. If an earlier run had
    to reduce this batch, begin with the smallest one that it used: the larger one would run out of memory again, and
    the existing faces were made with the smaller one.
    """
    earlier = journal.batches(made, settings.batch) if journal else []
    if not journal or not earlier:
        return [settings.batch]
    if not settings.resume:
        journal.add_batch(made, settings.batch, settings.batch)
        return [settings.batch]
    if earlier[-1] < settings.batch:
        notice(f"batch {earlier[-1]}: an earlier run ran out of memory; --no-resume does all again at {settings.batch}")
    return list(dict.fromkeys((*reversed(earlier), settings.batch)))


def _note_halving(
    journal: Journal | None, made: str, settings: RunSettings, notice: Callable[[str], None]
) -> Callable[[int, OutOfMemory], None]:
    """Return what is done where a batch was too large: say it, and record the smaller one."""

    def halved(batch: int, error: OutOfMemory) -> None:
        notice(f"out of memory at batch {batch}, going on with {batch // 2}: {error}")
        if journal:
            journal.add_batch(made, settings.batch, batch // 2)

    return halved


def _pool(stack: ExitStack, stage: Stage) -> Executor:
    """Return a stage's threads. At the end of the stack, work that has not begun is dropped, and work that has begun is
    finished."""
    pool = ThreadPoolExecutor(stage.workers, thread_name_prefix=stage.name)
    stack.callback(pool.shutdown, cancel_futures=True)
    return pool


def _frames(outcomes: Iterable[Loaded | AlreadyDone | Failed], tally: _Tally) -> Iterator[Loaded]:
    """Yield the frames for the engine; count the others."""
    for outcome in outcomes:
        if isinstance(outcome, Loaded):
            yield outcome
        elif isinstance(outcome, AlreadyDone):
            tally.done_before()
        else:
            tally.failed(outcome)
