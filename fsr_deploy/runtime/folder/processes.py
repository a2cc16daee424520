"""Decoding and encoding in processes: from a few cores on, threads of one Python hold each other back.

A process reads and writes files beside their places; what has to be one after the other (the journal, moving a face
into its place) stays in the process that runs, so that a run is the same whoever decodes. SR faces, which are large,
are handed over in shared memory.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, cycle, islice
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from fsr_deploy._util.files import remove_part
from fsr_deploy.errors import MissingError
from fsr_deploy.images.colour import ColourChange
from fsr_deploy.images.opencv import cv2
from fsr_deploy.images.resize import Face
from fsr_deploy.runtime.folder.budget import OverBudget, Share
from fsr_deploy.runtime.folder.jobs import Job
from fsr_deploy.runtime.folder.journal import JournalView
from fsr_deploy.runtime.folder.rates import Stage
from fsr_deploy.runtime.folder.steps import BYTES_AT_ONCE, AlreadyDone, Failed, Load, Loaded, Upscaled
from fsr_deploy.runtime.folder.write import WriteFaces, Written, target_of, write_beside

FACES_AT_A_TIME = 32  # at most: handing over costs as much as a small face takes
BYTES_AT_A_TIME = 1 << 21
GROUPS_PER_PROCESS = 2  # one that it works on and one that waits, at each end
# A process takes half a second to begin, in which a core decodes and encodes about a hundred faces. On two cores,
# threads hold each other back so little that they are as fast up to some 3000.
FACES_PER_PROCESS = 200
FACES_ON_TWO_CORES = 4000

ENDING = (signal.SIGINT, signal.SIGTERM)
Item = TypeVar("Item")
Given = TypeVar("Given")
Answer = TypeVar("Answer")
Outcome = Loaded | AlreadyDone | Failed


def processes_for(faces: int, cores: int, sr_shape: tuple[int, int]) -> int:
    """Return how many processes a run of so many faces, SR (h, w), is worth, 0 for threads.

    Threads encode large faces as fast, without a copy of them in memory that is shared.
    """
    small = math.prod(sr_shape) * 3 <= BYTES_AT_A_TIME
    enough = FACES_ON_TWO_CORES if cores == 2 else FACES_PER_PROCESS * cores
    return cores if small and cores > 1 and faces >= enough else 0


def begin_processes(count: int, load: Load, at_a_time: int, notice: Callable[[str], None]) -> CodecProcesses | None:
    """Return new processes; None, with a ``notice``, where there can be none, as in a container that is locked down."""
    try:
        return CodecProcesses(count, load, at_a_time)
    except (ImportError, NotImplementedError, OSError) as error:
        notice(f"threads decode and encode, slower than processes, which cannot be had here: {error}")
        return None


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

    Close it when done: what was written beside its place and is not wanted goes then. Raises OSError,
    NotImplementedError or ImportError where the system does not let us have processes or what they share.
    """

    def __init__(self, count: int, load: Load, at_a_time: int) -> None:
        self.count = count
        self._at_a_time = at_a_time
        self._load = load
        context = multiprocessing.get_context("spawn")
        sr_face = (*load.engine.sr_shape, 3)
        groups = (GROUPS_PER_PROCESS * count + 1, max(1, min(at_a_time, BYTES_AT_A_TIME // math.prod(sr_face))))
        memory = context.RawArray("B", math.prod(groups + sr_face))
        self._sr_groups = _as_groups(memory, groups + sr_face)
        self._pool = ProcessPoolExecutor(
            count, context, _begin, (_LoadElsewhere.of(load, count), memory, groups + sr_face)
        )
        self._beside: deque[Sequence[Upscaled]] = deque()
        try:
            for _ in range(count):
                self._submit(_is_there)  # begins a process
        except OSError:
            self.close()
            raise

    def load(self, jobs: Iterable[Job], stage: Stage, ahead: int) -> Iterator[Outcome]:
        """Yield what becomes of each job, in order, with about ``ahead`` of them decoded before they are wanted.

        A picture that is too large for a process to hold is decoded here, where it can wait for room.
        """
        groups = in_groups(jobs, self._at_a_time)
        given = ((group, [(str(job.source), str(job.target)) for job in group]) for group in groups)
        ahead = ahead // self._at_a_time + GROUPS_PER_PROCESS * self.count
        for group, (tidings, faces) in self._map(_load_all, given, stage, ahead):
            lr_faces = iter(faces)
            for job, told in zip(group, tidings, strict=True):
                if isinstance(told, _Decoded):
                    yield Loaded(job, told.sha256, [next(lr_faces)], [told.size], told.changes)
                else:
                    yield told or self._load(job)

    def write(self, frames: Iterable[Upscaled], stage: Stage, write: WriteFaces) -> Iterator[Loaded | Failed]:
        """Yield what becomes of each frame, in order; raises what ``write`` raises."""
        memory = cycle(range(len(self._sr_groups)))

        def given(group: Sequence[Upscaled]) -> tuple[int, list[str]]:
            self._beside.append(group)
            index = next(memory)
            for place, upscaled in zip(self._sr_groups[index], group, strict=False):
                place[:] = upscaled.faces[0]
            return index, [target_of(upscaled) for upscaled in group]

        groups = ((group, given(group)) for group in in_groups(frames, self._sr_groups.shape[1]))
        for group, written in self._map(_write_all, groups, stage, len(self._sr_groups) - 1):
            results = write.place(group, written)
            self._beside.popleft()
            yield from results

    def close(self) -> None:
        """Finish what has begun, and remove what was written beside its place and is not wanted any more."""
        self._pool.shutdown(cancel_futures=True)
        for upscaled in chain.from_iterable(self._beside):
            remove_part(target_of(upscaled))

    def _submit(self, work: Callable[..., Answer], *given: object) -> Future[Answer]:
        with _no_signals():
            return self._pool.submit(work, *given)

    def _map(
        self,
        work: Callable[[Given], tuple[float, Answer]],
        groups: Iterable[tuple[Sequence[Item], Given]],
        stage: Stage,
        ahead: int,
    ) -> Iterator[tuple[Sequence[Item], Answer]]:
        """Yield each group with the answer to what is given for it, in order; see ``ordered_map``."""
        pending: deque[tuple[Sequence[Item], Future[tuple[float, Answer]]]] = deque()

        def answer() -> tuple[Sequence[Item], Answer]:
            group, future = pending.popleft()
            seconds, done = future.result()
            stage.count(seconds, len(group))
            return group, done

        try:
            for group, given in groups:
                pending.append((group, self._submit(work, given)))
                if len(pending) > ahead or pending[0][1].done():
                    yield answer()
            while pending:
                yield answer()
        except BrokenProcessPool:
            raise MissingError(
                "a process that decodes and encodes faces was ended from outside, by lack of memory perhaps; "
                "the same command goes on, with fewer cores (taskset) if it happens again"
            ) from None


def _as_groups(memory: Any, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return shared memory as groups of SR faces, (groups, faces, H, W, 3)."""
    return np.frombuffer(memory, np.uint8).reshape(shape)


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


@dataclass(frozen=True)
class _Decoded:
    """What a process tells of a frame beside its LR face, see ``Loaded``."""

    sha256: str
    size: tuple[int, int]
    changes: frozenset[ColourChange]


_loading: Load
_sr_groups: NDArray[np.uint8]


def _begin(load: Load, memory: Any, shape: tuple[int, ...]) -> None:
    """Make a new process ready. It ends with the one that started it; signals are for that one."""
    global _loading, _sr_groups
    _loading, _sr_groups = load, _as_groups(memory, shape)
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    cv2.setNumThreads(1)


def _is_there() -> None:
    """Do nothing, in a process."""


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


def _load_all(
    places: Sequence[tuple[str, str]],
) -> tuple[float, tuple[list[_Decoded | AlreadyDone | Failed | None], NDArray[np.uint8]]]:
    """Return the seconds that it took, what became of each job with its (source, target), None where it is too large,
    and the LR faces of those that were decoded.
    """
    start = time.perf_counter()
    tidings: list[_Decoded | AlreadyDone | Failed | None] = []
    faces: list[Face] = []
    for source, target in places:
        try:
            outcome = _loading(Job(Path(source), Path(target)))
        except OverBudget:
            tidings.append(None)
            continue
        if isinstance(outcome, Loaded):
            faces.append(outcome.faces[0])
            tidings.append(_Decoded(outcome.sha256, outcome.sizes[0], outcome.changes))
        else:
            tidings.append(outcome)
    return time.perf_counter() - start, (tidings, np.array(faces))


def _write_all(given: tuple[int, Sequence[str]]) -> tuple[float, list[Written]]:
    """Return the seconds that it took, and what ``write_beside`` returns for the SR faces of a group, for targets."""
    start = time.perf_counter()
    index, targets = given
    written = write_beside(list(zip(targets, _sr_groups[index], strict=False)))
    return time.perf_counter() - start, written
