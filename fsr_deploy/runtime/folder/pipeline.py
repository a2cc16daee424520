"""The stages that frames go through: decoding, the engine and encoding at the same time, in order."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack
from typing import TypeVar

from fsr_deploy.runtime.batches import Batches
from fsr_deploy.runtime.folder.jobs import Job
from fsr_deploy.runtime.folder.ordered import ordered_map
from fsr_deploy.runtime.folder.parts import Upscale, frames_in, groups, whole_frames
from fsr_deploy.runtime.folder.rates import Stage
from fsr_deploy.runtime.folder.steps import AlreadyDone, Failed, Loaded, Upscaled

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
        write: Callable[[Upscaled], Result],
        aside: Callable[[AlreadyDone | Failed], None],
        ahead: int,
    ) -> Iterator[Result]:
        """Yield what ``write`` returns for each frame that ``load`` has for the engine, in order; ``aside`` gets the
        others. Up to ``ahead`` frames wait before a stage. Once the run is to stop, no job and no batch is begun.
        """
        decode, engine, encode = self.stages
        decoders, engines, encoders = self._pools
        begun = itertools.takewhile(lambda job: not self._stop.is_set(), jobs)
        frames = _frames(ordered_map(decoders, decode.timed(load), begun, ahead), aside)
        upscale = engine.timed(Upscale(batches, self._stop), frames_in)
        upscaled = ordered_map(engines, upscale, groups(frames, batches.size), engine.workers)
        done = whole_frames(itertools.chain.from_iterable(upscaled))
        return ordered_map(encoders, encode.timed(write), done, ahead)

    def _pool(self, stage: Stage) -> Executor:
        pool = ThreadPoolExecutor(stage.workers, thread_name_prefix=stage.name)
        self._stack.callback(pool.shutdown, cancel_futures=True)
        return pool


def _frames(
    outcomes: Iterable[Loaded | AlreadyDone | Failed], aside: Callable[[AlreadyDone | Failed], None]
) -> Iterator[Loaded]:
    """Yield the frames for the engine."""
    for outcome in outcomes:
        if isinstance(outcome, Loaded):
            yield outcome
        else:
            aside(outcome)
