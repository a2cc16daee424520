"""The stages that frames go through: decoding, the engine and encoding at the same time, in order."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack
from typing import TypeVar

from fsr_deploy.runtime.batches import Batches
from fsr_deploy.runtime.folder.jobs import Job
from fsr_deploy.runtime.folder.ordered import ordered_map
from fsr_deploy.runtime.folder.parts import Upscale, frames_in, groups, whole_frames
from fsr_deploy.runtime.folder.processes import CodecProcesses, in_groups
from fsr_deploy.runtime.folder.rates import Stage
from fsr_deploy.runtime.folder.steps import AlreadyDone, Failed, Loaded, Upscaled
from fsr_deploy.runtime.folder.write import WriteFaces

# While some threads of a codec stage wait for files or for Python, others use the cores; this makes JPEGs a third
# faster.
CODEC_THREADS_PER_CORE = 2

GivenJob = TypeVar("GivenJob", bound=Job)
Item = TypeVar("Item")
Result = TypeVar("Result")


class Pipeline:
    """The threads of the stages, ``codecs`` for decoding and as many for encoding, ``in_flight`` for the engine.

    Close it when done: work that has not begun is dropped, and work that has begun is finished.
    """

    def __init__(self, codecs: int, in_flight: int, stop: threading.Event) -> None:
        self.stages = [Stage("decode", codecs), Stage("engine", in_flight), Stage("encode", codecs)]
        self._stop = stop
        self._stack = ExitStack()
        self._pools = [self._pool(stage) for stage in self.stages]

    def close(self) -> None:
        """Finish what has begun."""
        self._stack.close()

    def in_order(self, step: Callable[[Item], Result], items: Iterable[Item], ahead: int) -> Iterator[Result]:
        """Yield ``step(item)`` in order, in the threads for decoding."""
        return ordered_map(self._pools[0], step, items, ahead)

    def run(
        self,
        jobs: Iterable[GivenJob],
        load: Callable[[GivenJob], Loaded | AlreadyDone | Failed],
        batches: Batches,
        write: Callable[[Sequence[Upscaled]], Sequence[Result]],
        aside: Callable[[AlreadyDone | Failed], None],
        ahead: int,
        at_a_time: int = 1,
    ) -> Iterator[Result]:
        """Yield what ``write`` returns for the frames that ``load`` has for the engine, in order; ``aside`` gets the
        others. Up to ``ahead`` frames wait before a stage; threads take ``at_a_time`` of them, because handing over
        costs more than a small face takes. Once the run is to stop, no job and no batch is begun.
        """
        decode, _, encode = self.stages
        decoders, _, encoders = self._pools
        begun = itertools.takewhile(lambda job: not self._stop.is_set(), jobs)

        def load_all(group: Sequence[GivenJob]) -> list[Loaded | AlreadyDone | Failed]:
            return [load(job) for job in group]

        loaded = _in_groups(decoders, decode.timed(load_all, len), begun, at_a_time, ahead)
        done = self._upscaled(loaded, batches, aside)
        return _in_groups(encoders, encode.timed(write, len), done, at_a_time, ahead)

    def run_in_processes(
        self,
        processes: CodecProcesses,
        jobs: Iterable[Job],
        batches: Batches,
        write: WriteFaces,
        aside: Callable[[AlreadyDone | Failed], None],
        ahead: int,
    ) -> Iterator[Loaded | Failed]:
        """As ``run``, for frames that are faces, with processes for decoding and encoding, which it closes."""
        self._stack.callback(processes.close)
        decode, _, encode = self.stages
        decode.workers = encode.workers = processes.count
        begun = itertools.takewhile(lambda job: not self._stop.is_set(), jobs)
        done = self._upscaled(processes.load(begun, decode, ahead), batches, aside)
        return processes.write(done, encode, write)

    def _upscaled(
        self,
        outcomes: Iterable[Loaded | AlreadyDone | Failed],
        batches: Batches,
        aside: Callable[[AlreadyDone | Failed], None],
    ) -> Iterator[Upscaled]:
        engine = self.stages[1]
        upscale = engine.timed(Upscale(batches, self._stop), frames_in)
        parts = ordered_map(self._pools[1], upscale, groups(_frames(outcomes, aside), batches.size), engine.workers)
        return whole_frames(itertools.chain.from_iterable(parts))

    def _pool(self, stage: Stage) -> Executor:
        pool = ThreadPoolExecutor(stage.workers, thread_name_prefix=stage.name)
        self._stack.callback(pool.shutdown, cancel_futures=True)
        return pool


def _in_groups(
    pool: Executor,
    step: Callable[[Sequence[Item]], Sequence[Result]],
    items: Iterable[Item],
    size: int,
    ahead: int,
) -> Iterator[Result]:
    """Yield what ``step`` returns for ``size`` items at a time, in order."""
    return itertools.chain.from_iterable(ordered_map(pool, step, in_groups(items, size), -(-ahead // size)))


def _frames(
    outcomes: Iterable[Loaded | AlreadyDone | Failed], aside: Callable[[AlreadyDone | Failed], None]
) -> Iterator[Loaded]:
    """Yield the frames for the engine."""
    for outcome in outcomes:
        if isinstance(outcome, Loaded):
            yield outcome
        else:
            aside(outcome)
