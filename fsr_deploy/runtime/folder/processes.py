"""Decoding and encoding in processes: from a few cores on, threads of one Python hold each other back.

A process reads and writes files beside their places; what has to be one after the other (the journal, moving a face
into its place) stays in the process that runs, so that a run is the same whoever decodes.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain, islice
from multiprocessing.connection import wait
from pathlib import Path
from typing import TypeVar

from fsr_deploy._util.files import CannotWrite, part_of, write_part
from fsr_deploy.errors import MissingError
from fsr_deploy.images.codec import encode_frame
from fsr_deploy.images.opencv import cv2
from fsr_deploy.images.resize import Face
from fsr_deploy.runtime.folder.budget import OverBudget, Share
from fsr_deploy.runtime.folder.jobs import Job
from fsr_deploy.runtime.folder.journal import JournalView
from fsr_deploy.runtime.folder.rates import Stage
from fsr_deploy.runtime.folder.steps import BYTES_AT_ONCE, AlreadyDone, Failed, Load, Loaded, Upscaled
from fsr_deploy.runtime.folder.write import Write

FACES_AT_A_TIME = 16  # at most: handing over costs as much as a small face takes
BYTES_AT_A_TIME = 1 << 20
# A process takes half a second to begin, in which a core decodes and encodes about a hundred faces.
FACES_PER_PROCESS = 200

ENDING = (signal.SIGINT, signal.SIGTERM)
Item = TypeVar("Item")
Answer = TypeVar("Answer")
Outcome = Loaded | AlreadyDone | Failed


def processes_for(faces: int, cores: int) -> int:
    """Return how many processes a run of so many faces is worth, 0 for threads.

    On two cores they gain what they take to begin only after some 2600 small JPEGs (benchmarks/codecs.py).
    """
    return cores if cores > 2 and faces >= FACES_PER_PROCESS * cores else 0


@dataclass(frozen=True)
class _LoadElsewhere(Load):
    """``Load`` for a process of its own: with its share of the bytes, and what it may know of the journal."""

    view: JournalView | None = None

    @classmethod
    def of(cls, load: Load, count: int) -> _LoadElsewhere:
        share = Share(BYTES_AT_ONCE // count)
        view = load.journal.view() if load.journal else None
        return cls(load.engine, None, load.made_with, load.batches, load.fit, share, share, view)

    def is_done(self, job: Job, sha256: str) -> bool:
        return self.view is not None and self.view.has(job.target, self.keys(job, sha256))


class CodecProcesses:
    """So many processes for both ends of a run, each given ``at_a_time`` faces, or fewer large ones.

    Close it when done: what was written beside its place and is not wanted goes then.
    """

    def __init__(self, count: int, load: Load, at_a_time: int) -> None:
        self._count = count
        self._at_a_time = at_a_time
        self._load = load
        self._pool = ProcessPoolExecutor(
            count, multiprocessing.get_context("spawn"), _begin, (_LoadElsewhere.of(load, count),)
        )
        self._beside: set[Path] = set()

    def load(self, jobs: Iterable[Job], stage: Stage, ahead: int) -> Iterator[Outcome]:
        """Yield what becomes of each job, in order, with about ``ahead`` of them decoded before they are wanted.

        A picture that is too large for a process to hold is decoded here, where it can wait for room.
        """
        groups = in_groups(jobs, self._at_a_time)
        for outcome in self._map(_load_all, groups, stage, ahead // self._at_a_time + 2 * self._count):
            yield self._load(outcome) if isinstance(outcome, Job) else outcome

    def write(self, frames: Iterable[Upscaled], stage: Stage, write: Write) -> Iterator[Loaded | Failed]:
        """Yield what becomes of each frame, in order; raises what ``write`` raises."""
        first = next(iterator := iter(frames), None)
        if first is None:
            return
        size = max(1, min(self._at_a_time, BYTES_AT_A_TIME // first.faces[0].nbytes))
        waiting: deque[Upscaled] = deque()

        def faces(group: Sequence[Upscaled]) -> list[tuple[Path, Face]]:
            waiting.extend(group)
            given = [(frame.frame.job.target, frame.faces[0]) for frame in group]
            self._beside.update(target for target, _ in given)
            return given

        groups = (faces(group) for group in in_groups(chain([first], iterator), size))
        for written in self._map(_write_all, groups, stage, 2 * self._count):
            frame = waiting.popleft()
            yield write.place(frame, written)
            self._beside.discard(frame.frame.job.target)

    def close(self) -> None:
        """Finish what has begun, and remove what was written beside its place and is not wanted any more."""
        self._pool.shutdown(cancel_futures=True)
        for target in self._beside:
            with suppress(OSError):
                part_of(target).unlink()

    def _map(
        self,
        work: Callable[[Sequence[Item]], tuple[float, list[Answer]]],
        groups: Iterable[Sequence[Item]],
        stage: Stage,
        ahead: int,
    ) -> Iterator[Answer]:
        """Yield the answers for each group's items in order; see ``ordered_map``."""
        pending: deque[Future[tuple[float, list[Answer]]]] = deque()

        def answers() -> list[Answer]:
            seconds, done = pending.popleft().result()
            stage.count(seconds, len(done))
            return done

        try:
            for group in groups:
                with _no_signals():
                    pending.append(self._pool.submit(work, group))
                if len(pending) > ahead or pending[0].done():
                    yield from answers()
            while pending:
                yield from answers()
        except BrokenProcessPool:
            raise MissingError(
                "a process that decodes and encodes faces was ended from outside, by lack of memory perhaps; "
                "the same command goes on, with fewer cores (taskset) if it happens again"
            ) from None


@contextmanager
def _no_signals() -> Iterator[None]:
    """Hold signals back while a process may be begun: until it is ready, a Ctrl-C for the run would end it."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def in_groups(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Yield the items in lists of ``size``; the last may be shorter."""
    iterator = iter(items)
    while group := list(islice(iterator, size)):
        yield group


_loading: Load


def _begin(load: Load) -> None:
    """Make a new process ready. It ends with the one that started it; signals are for that one."""
    global _loading
    _loading = load
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    cv2.setNumThreads(1)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


def _load_all(jobs: Sequence[Job]) -> tuple[float, list[Outcome | Job]]:
    """Return the seconds that it took, and what became of each job, or the job itself where it is too large."""
    start = time.perf_counter()
    outcomes: list[Outcome | Job] = []
    for job in jobs:
        try:
            outcomes.append(_loading(job))
        except OverBudget:
            outcomes.append(job)
    return time.perf_counter() - start, outcomes


def _write_all(faces: Sequence[tuple[Path, Face]]) -> tuple[float, list[str | CannotWrite]]:
    """Encode faces and write each beside its target; return the seconds, and the SHA-256 of each or why there is none.

    Raises InputError where a face cannot be encoded.
    """
    start = time.perf_counter()
    written: list[str | CannotWrite] = []
    for target, face in faces:
        content = encode_frame(face, target.suffix)
        try:
            write_part(target, content)
            written.append(hashlib.sha256(content).hexdigest())
        except CannotWrite as error:
            written.append(error)
    return time.perf_counter() - start, written
