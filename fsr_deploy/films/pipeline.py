"""Frames of a film through a restorer into segments: decoding, restoring and encoding at the same time, in order."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fsr_deploy._util.cores import usable_cores
from fsr_deploy.films import segments
from fsr_deploy.films.bad import BadParts
from fsr_deploy.films.colour import Pixels, to_planes
from fsr_deploy.films.encoder import Video, to_frame
from fsr_deploy.films.frames import Decoded, Frames, upright
from fsr_deploy.films.prefetch import prefetched
from fsr_deploy.films.restore import Restorer
from fsr_deploy.films.segments import FilmJournal, SegmentEncoder, segment_path, write_segment
from fsr_deploy.films.survey import Film
from fsr_deploy.runtime.folder.ordered import ordered_map
from fsr_deploy.runtime.folder.rates import Stage

# The limit for the frames that wait before a stage: so many, by their size, and at least one.
BYTES_AT_ONCE = 1 << 28
_MOST_AHEAD = 64


@dataclass(frozen=True)
class Picture:
    """A frame's number and its pixels, before or after it is restored, or the planes for the encoder."""

    number: int
    pixels: Any


class Encode:
    """Pictures in order -> segments; a segment is put in its place when the next one begins or with ``finish``."""

    def __init__(self, film: Film, video: Video, target: Path, journal: FilmJournal, key: str) -> None:
        self.written: set[int] = set()
        self._film = film
        self._video = video
        self._target = target
        self._journal = journal
        self._key = key
        self._index = -1
        self._encoder: SegmentEncoder | None = None

    def __call__(self, picture: Picture) -> int:
        """Encode a picture; returns its number."""
        index = picture.number // segments.LENGTH
        if index != self._index or self._encoder is None:
            self.finish()
            self._index, self._encoder = index, SegmentEncoder(self._video)
        time = self._film.times[picture.number]
        self._encoder.add(to_frame(picture.pixels, self._video, time), self._duration(picture.number))
        return picture.number

    def finish(self) -> None:
        """Put the segment in its place."""
        if self._encoder:
            path = segment_path(self._target, self._index)
            write_segment(path, self._encoder.finish(), self._key, self._journal)
            self.written.add(self._index)
        self._encoder = None

    def _duration(self, number: int) -> int:
        times = self._film.times
        return times[number + 1] - times[number] if number + 1 < len(times) else self._film.last_duration


@dataclass(frozen=True)
class Stages:
    """The stages whose rates are reported."""

    decode: Stage
    engine: Stage
    encode: Stage


def stages_for(restorer: Restorer) -> Stages:
    """Return new counters."""
    return Stages(Stage("decode", 1), Stage("engine", restorer.in_flight), Stage("encode", 1))


def run_pipeline(
    film: Film,
    video: Video,
    restorer: Restorer,
    encode: Encode,
    done: Collection[int],
    bad: BadParts,
    stop: threading.Event,
    advance: Callable[[int], None],
    stages: Stages,
) -> int:
    """Make all segments but those that are ``done``; returns how many frames were made.

    After ``stop`` is set no batch is begun, and the segment that is not complete is dropped.
    """
    cores = usable_cores()
    width, height = film.size
    waiting = _ahead(width * height * 3 * (1 if film.bits == 8 else 2))
    ready = _ahead(video.size[0] * video.size[1] * 3 * 2)
    group = min(restorer.batch, waiting)
    ended = threading.Event()
    count = 0
    with ExitStack() as stack:
        converters, engines, encoder = (
            stack.enter_context(_pool(name, workers))
            for name, workers in (("convert", cores), ("engine", restorer.in_flight), ("encode", 1))
        )
        wanted = Frames(film, bad, lambda number: number // segments.LENGTH not in done)
        decoded = stack.enter_context(prefetched(_timed(wanted, stages.decode), waiting))

        def converted(decoded: Decoded) -> Picture:
            return Picture(decoded.number, upright(film, decoded))

        def restored(pictures: Sequence[Picture]) -> list[Picture]:
            frames: list[Pixels] = [picture.pixels for picture in pictures]
            new = restorer.restore(frames, pictures[0].number)
            return [Picture(picture.number, pixels) for picture, pixels in zip(pictures, new, strict=True)]

        def planes(picture: Picture) -> Picture:
            return Picture(picture.number, to_planes(picture.pixels, video.colours, video.bits, video.halved))

        pictures = ordered_map(converters, converted, decoded, min(waiting, group + 2 * cores))
        batches = _until(stop, _groups(pictures, group), ended)
        new = ordered_map(engines, stages.engine.timed(restored, len), batches, restorer.in_flight)
        coded = ordered_map(converters, planes, itertools.chain.from_iterable(new), min(ready, 2 * cores))
        for _ in ordered_map(encoder, stages.encode.timed(encode), coded, min(ready, 2 * cores)):
            count += 1
            advance(1)
        if ended.is_set():
            encode.finish()
    return count


def _ahead(frame_bytes: int) -> int:
    return max(1, min(_MOST_AHEAD, BYTES_AT_ONCE // max(frame_bytes, 1)))


@contextmanager
def _pool(name: str, workers: int) -> Iterator[Executor]:
    """Yield threads; at the end what has not begun is dropped, and what has begun is finished."""
    pool = ThreadPoolExecutor(workers, thread_name_prefix=name)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _timed(frames: Iterable[Decoded], stage: Stage) -> Iterator[Decoded]:
    """Count the time that decoding takes, without what others take meanwhile."""
    remaining = iter(frames)
    take = stage.timed(lambda _: next(remaining, None))
    while (frame := take(None)) is not None:
        yield frame


def _until(stop: threading.Event, batches: Iterable[list[Picture]], ended: threading.Event) -> Iterator[list[Picture]]:
    """Yield batches until ``stop`` is set; ``ended`` is set where there are no more."""
    for batch in batches:
        if stop.is_set():
            return
        yield batch
    ended.set()


def _groups(pictures: Iterable[Picture], size: int) -> Iterator[list[Picture]]:
    """Yield batches of frames that follow each other within one segment: they are the same in every run."""
    group: list[Picture] = []
    for picture in pictures:
        last = group[-1].number if group else -2
        same = picture.number == last + 1 and picture.number // segments.LENGTH == last // segments.LENGTH
        if group and (len(group) == size or not same):
            yield group
            group = []
        group.append(picture)
    if group:
        yield group
