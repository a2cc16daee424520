"""Decoding and encoding in processes: from a few cores on, threads of one Python hold each other back.

A process reads and writes files beside their places; what has to be one after the other (the journal, moving a face
into its place) stays in the process that runs, so that a run is the same whoever decodes. SR faces, which are large,
are handed over in shared memory.
"""

from __future__ import annotations

import math
import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from itertools import chain, cycle, islice
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import TypeVar, cast

from fsr_deploy._util.files import remove_part
from fsr_deploy.errors import MissingError
from fsr_deploy.runtime.folder.codec_process import ENDING, Aside, Reader, as_groups, load_all, serve, write_all
from fsr_deploy.runtime.folder.jobs import Job
from fsr_deploy.runtime.folder.rates import Stage
from fsr_deploy.runtime.folder.steps import AlreadyDone, Failed, Load, Loaded, Upscaled
from fsr_deploy.runtime.folder.write import WriteFaces, target_of

FACES_AT_A_TIME = 32  # at most: handing over costs as much as a small face takes
BYTES_AT_A_TIME = 1 << 21
GROUPS_PER_PROCESS = 2  # one that it works on and one that waits, at each end
# A process takes half a second to begin, in which a core decodes and encodes about a hundred faces. On two cores,
# threads hold each other back so little that they are as fast up to some 3000.
FACES_PER_PROCESS = 200
FACES_ON_TWO_CORES = 4000

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
        self._sr_groups = as_groups(memory, groups + sr_face)
        self._beside: deque[Sequence[Upscaled]] = deque()
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="ask")  # one waits for each process
        self._free: SimpleQueue[Connection] = SimpleQueue()
        self._stack = ExitStack()
        try:
            for _ in range(count):
                ours, asked = context.Pipe()
                process = context.Process(
                    target=serve, args=(asked, Reader.of(load, count), memory, groups + sr_face), daemon=True
                )
                with asked, _no_signals():
                    process.start()
                self._stack.callback(process.join)
                self._stack.enter_context(ours)
                self._free.put(ours)
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
        for group, (tidings, faces) in self._map(load_all, given, stage, ahead):
            for job, told, face in zip(group, tidings, faces, strict=True):
                match told:
                    case Aside.DONE:
                        yield AlreadyDone(job)
                    case Aside.TOO_LARGE:
                        yield self._load(job)
                    case str():
                        yield Failed(job.source, told)
                    case sha256, size, changes:
                        yield Loaded(job, sha256, [face], [size], changes)

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
        for group, written in self._map(write_all, groups, stage, len(self._sr_groups) - 1):
            results = write.place(group, written)
            self._beside.popleft()
            yield from results

    def close(self) -> None:
        """Finish what has begun, and remove what was written beside its place and is not wanted any more."""
        self._threads.shutdown(cancel_futures=True)
        self._stack.close()
        for upscaled in chain.from_iterable(self._beside):
            remove_part(target_of(upscaled))

    def _ask(self, work: Callable[[Given], Answer], given: Given) -> Answer:
        """Return what a process answers that has nothing else to do."""
        process = self._free.get()
        try:
            process.send((work, given))
            answer, error = process.recv()
        except (EOFError, ConnectionError):
            raise MissingError(
                "a process that decodes and encodes faces was ended from outside, by lack of memory perhaps; "
                "the same command goes on, with fewer cores (taskset) if it happens again"
            ) from None
        finally:
            self._free.put(process)
        if error:
            raise error
        return cast(Answer, answer)

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

        for group, given in groups:
            pending.append((group, self._threads.submit(self._ask, work, given)))
            if len(pending) > ahead or pending[0][1].done():
                yield answer()
        while pending:
            yield answer()


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
