"""Frames in files to SR faces in files: decoding, the engine and encoding at the same time, in order."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field

from fsr_deploy.errors import InputError, UsageError
from fsr_deploy.resize import Fit
from fsr_deploy.runtime.cores import usable_cores
from fsr_deploy.runtime.jobs import Work
from fsr_deploy.runtime.journal import Journal
from fsr_deploy.runtime.ordered import ordered_map
from fsr_deploy.runtime.session import EngineInfo, Session
from fsr_deploy.runtime.sizes import SizeCount
from fsr_deploy.runtime.stages import Stage, StageReport, report
from fsr_deploy.runtime.steps import AlreadyDone, Failed, Load, Loaded, Upscale, Write

# While some threads of a codec stage wait for the disk, others use the cores; measured 1.7 times as fast as one each.
CODEC_THREADS_PER_CORE = 2


@dataclass(frozen=True)
class Settings:
    """How to run: so many faces per ``batch``; with ``resume``, without what the journal has; with
    ``skip_failures``, past frames that cannot be read; until ``stop`` is set. ``fit`` is what becomes of frames of
    other proportions than the engine's.
    """

    batch: int
    resume: bool = True
    skip_failures: bool = True
    stop: threading.Event = field(default_factory=threading.Event)
    fit: Fit = "crop"


@dataclass
class RunSummary:
    """What became of ``total`` frames, in ``seconds`` from the first to the last."""

    total: int
    sizes: SizeCount
    done: int = 0
    already_done: int = 0
    alpha_dropped: int = 0
    failed: list[Failed] = field(default_factory=list)
    seconds: float = 0.0
    stages: StageReport | None = None

    @property
    def left(self) -> int:
        """Frames that were not begun because the run was stopped."""
        return self.total - self.done - self.already_done - len(self.failed)


def choose_batch(engine: EngineInfo, wanted: int | None, frames: int) -> int:
    """Return how many faces to run at a time: ``wanted``, or else what suits the engine, and no more than there are.

    Raises UsageError for a batch that the engine does not take.
    """
    if wanted and engine.max_batch and wanted > engine.max_batch:
        raise UsageError(f"--batch {wanted}: this engine takes at most {engine.max_batch}")
    return min(wanted or engine.best_batch, frames)


def run(
    session: Session,
    work: Work,
    settings: Settings,
    advance: Callable[[int], None] = lambda count: None,
    notice: Callable[[str], None] = lambda line: None,
) -> RunSummary:
    """Upscale all frames of ``work``; ``advance(1)`` follows each frame, ``notice`` gets a line for each event.

    Raises InputError for an output that cannot be written and, without ``skip_failures``, for the first frame that
    cannot be read; MissingError where not even one face fits into the device's memory.
    """
    summary = RunSummary(len(work.jobs), SizeCount(session.info.lr_shape, settings.fit, session.info.resizable))
    start = time.perf_counter()
    with ExitStack() as stack:
        journal = Journal(work.folder) if work.folder else None
        if journal:
            stack.callback(journal.close)
        codecs = CODEC_THREADS_PER_CORE * usable_cores()
        decode, engine, encode = stages = [
            Stage("decode", codecs),
            Stage("engine", session.in_flight),
            Stage("encode", codecs),
        ]
        load = decode.timed(Load(session.info, journal, settings.resume, settings.fit))
        upscale = engine.timed(Upscale(session, settings.batch, settings.stop, notice), len)
        write = encode.timed(Write(journal))
        ahead = settings.batch + 2 * codecs

        jobs = itertools.takewhile(lambda job: not settings.stop.is_set(), work.jobs)
        outcomes = ordered_map(_pool(stack, decode), load, jobs, ahead)
        frames = _frames(outcomes, summary, settings, advance, notice)
        upscaled = ordered_map(_pool(stack, engine), upscale, _batches(frames, settings.batch), session.in_flight)
        faces = itertools.chain.from_iterable(upscaled)
        for frame in ordered_map(_pool(stack, encode), write, faces, ahead):
            _count(frame, summary)
            advance(1)
    summary.seconds = time.perf_counter() - start
    summary.stages = report(stages, summary.done, summary.seconds)
    return summary


def _pool(stack: ExitStack, stage: Stage) -> Executor:
    """Return a stage's threads; when the stack ends, work not begun is dropped and work begun is waited for."""
    pool = ThreadPoolExecutor(stage.workers, thread_name_prefix=stage.name)
    stack.callback(pool.shutdown, cancel_futures=True)
    return pool


def _frames(
    outcomes: Iterable[Loaded | AlreadyDone | Failed],
    summary: RunSummary,
    settings: Settings,
    advance: Callable[[int], None],
    notice: Callable[[str], None],
) -> Iterator[Loaded]:
    """Yield the frames that the engine has to see; count the others."""
    for outcome in outcomes:
        if isinstance(outcome, Loaded):
            yield outcome
            continue
        if isinstance(outcome, AlreadyDone):
            summary.already_done += 1
        elif settings.skip_failures:
            summary.failed.append(outcome)
            notice(f"skipped: {outcome.reason}")
        else:
            raise InputError(f"{outcome.reason} (leave out --on-error stop to go past such files)")
        advance(1)


def _batches(frames: Iterable[Loaded], size: int) -> Iterator[list[Loaded]]:
    """Yield lists of ``size`` frames; the last may be shorter."""
    remaining = iter(frames)
    while batch := list(itertools.islice(remaining, size)):
        yield batch


def _count(frame: Loaded, summary: RunSummary) -> None:
    summary.done += 1
    summary.alpha_dropped += frame.had_alpha
    summary.sizes.add(frame.size)
