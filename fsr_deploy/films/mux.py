"""The new film: segments and the old film's other streams in one file, put in place when it is complete."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from fsr_deploy.errors import InputError, UsageError
from fsr_deploy.films import library
from fsr_deploy.films.encoder import Video, configure
from fsr_deploy.films.kinds import CONTAINERS
from fsr_deploy.films.segments import Packet, read_segment
from fsr_deploy.films.survey import Film, OtherStream

# What containers write themselves, or what would be wrong in the new one.
_NOT_CARRIED = {"major_brand", "minor_version", "compatible_brands", "encoder", "rotate", "duration"}
_BITEXACT = 0x400  # no random identifiers, no date of writing: the same film twice is the same file


@dataclass(frozen=True)
class Copying:
    """Which of a film's other streams are copied, and why the rest is not: lines that name each."""

    copied: tuple[OtherStream, ...]
    left_out: tuple[str, ...]


def plan_copy(film: Film, video: Video, target: Path) -> Copying:
    """Try which streams the new film's container takes; writes nothing.

    Raises UsageError for a container that does not take the video.
    """
    copied, left_out = [], []
    with library.open_film(film.path) as source:
        suffix = target.suffix.lower()
        try:
            _try(suffix, video)
        except library.errors() as error:
            raise UsageError(
                f"{target}: {suffix} does not take {video.codec}: {library.reason(error)}; name another -o or --codec"
            ) from error
        for other in film.others:
            stream = source.streams[other.index]
            try:
                if other.kind not in ("audio", "subtitle", "attachment"):
                    raise ValueError("only sound, subtitles and attachments are copied")
                _try(suffix, video, stream)
            except library.errors() as error:
                left_out.append(f"{other.name} is not copied: {_why(error, suffix)}")
            else:
                copied.append(other)
    return Copying(tuple(copied), tuple(left_out))


def rounded_times(film: Film, target: Path) -> Iterator[str]:
    """Yield a line where the new film's container does not keep the frames' times as they are."""
    kind = CONTAINERS[target.suffix.lower()]
    if kind in ("matroska", "webm") and any(time * film.time_base * 1000 % 1 for time in film.times):
        yield f"{target.suffix} keeps times in milliseconds, so they are rounded; .mp4 and .mov keep them"


def _try(suffix: str, video: Video, stream: Any = None) -> None:
    with library.av().open(io.BytesIO(), "w", format=CONTAINERS[suffix]) as container:
        _add_video(container, video)
        if stream is not None:
            _add_copy(container, stream)
        container.start_encoding()


def _why(error: Exception, suffix: str) -> str:
    text = library.reason(error)
    if "does not support" in text or not text.startswith("only"):
        return f"{suffix} does not take it" + ("" if suffix == ".mkv" else "; .mkv takes more kinds")
    return text


def write_film(
    film: Film, video: Video, copying: Copying, segments: Sequence[Path], target: Path, place: Path
) -> list[str]:
    """Write the new film to ``place``, in the format of ``target``; returns what was wrong with the copied streams.

    Raises InputError where it cannot be written.
    """
    kind = CONTAINERS[target.suffix.lower()]
    scaled = kind in ("mp4", "mov") and video.time_base.numerator == 1  # without this, small ones are multiplied
    options = {"video_track_timescale": str(video.time_base.denominator)} if scaled else {}
    order = _Order(segments)
    with library.listening(), library.open_film(film.path) as source:
        try:
            container = library.av().open(str(place), "w", format=kind, container_options=options)
            with container:
                return _write(container, source, film, video, copying, order)
        except library.errors() as error:
            raise InputError(f"{target}: cannot be written: {library.reason(error)}") from error


def _write(container: Any, source: Any, film: Film, video: Video, copying: Copying, order: _Order) -> list[str]:
    container.flags |= _BITEXACT
    own = _add_video(container, video)
    old = source.streams[film.stream]
    own.metadata.update(_carried(old.metadata))
    own.disposition = old.disposition.value
    container.metadata.update(_carried(source.metadata))
    targets = {other.index: _add_copy(container, source.streams[other.index]) for other in copying.copied}
    with suppress(AttributeError):  # an older PyAV
        container.set_chapters(source.chapters())
    container.start_encoding()
    faults: list[str] = []
    pictures = _video_packets(order, own, video.time_base)
    waiting = next(pictures, None)
    for packet in _copied_packets(source, targets, faults):
        when = _when(packet)
        while waiting is not None and (when is None or _when(waiting) <= when):
            container.mux_one(waiting)
            waiting = next(pictures, None)
        name = f"{packet.stream.type} stream {packet.stream.index}"
        packet.stream = targets[packet.stream.index]
        try:
            container.mux_one(packet)
        except library.errors() as error:
            faults.append(f"{name}: a packet{_at(when)} cannot be copied: {library.reason(error)}")
    while waiting is not None:
        container.mux_one(waiting)
        waiting = next(pictures, None)
    return faults


def _add_video(container: Any, video: Video) -> Any:
    stream = container.add_stream(video.codec, rate=video.rate)
    configure(stream.codec_context, video)
    stream.time_base = video.time_base
    return stream


def _add_copy(container: Any, stream: Any) -> Any:
    copy = container.add_stream_from_template(stream)
    copy.metadata.update(_carried(stream.metadata))
    copy.disposition = stream.disposition.value
    return copy


def _carried(metadata: dict[str, str]) -> dict[str, str]:
    return {key: value for key, value in metadata.items() if key.lower() not in _NOT_CARRIED}


def _copied_packets(source: Any, targets: dict[int, Any], faults: list[str]) -> Iterator[Any]:
    """Yield the packets of the copied streams as they come; a file that ends too early ends them."""
    streams = [source.streams[index] for index in targets if source.streams[index].type != "attachment"]
    if not streams:
        return
    try:
        for packet in source.demux(streams):
            if (packet.size or packet.pts is not None) and not _is_gap(packet):
                yield packet
    except library.errors() as error:
        faults.append(f"sound and subtitles end early: {library.reason(error)}")


def _is_gap(packet: Any) -> bool:
    """Tell whether a packet of MP4's subtitles only says that there is none: the muxer writes these itself."""
    return packet.size == 2 and packet.stream.type == "subtitle" and packet.stream.name == "mov_text"


class _Order:
    """The packets' decoding times. Encoders made them for each segment alone; over the whole film they must rise.

    Packet i of the film, in decoding order, is decoded when frame i - delay is shown. The delay is the smallest with
    which no packet is shown before it is decoded.
    """

    def __init__(self, segments: Sequence[Path]) -> None:
        self.segments = segments
        self.times: list[int] = []
        self.delay = 0
        for path in segments:
            shown = [packet.pts for packet in read_segment(path)]
            rank = {time: place for place, time in enumerate(sorted(shown))}
            self.delay = max([self.delay, *(place - rank[time] for place, time in enumerate(shown))])
            self.times += sorted(shown)

    def __iter__(self) -> Iterator[tuple[Packet, int]]:
        """Yield all packets with their decoding times."""
        index = 0
        for path in self.segments:
            for packet in read_segment(path):
                yield packet, self._decoded(index)
                index += 1

    def _decoded(self, index: int) -> int:
        if index >= self.delay:
            return self.times[index - self.delay]
        step = self.times[1] - self.times[0] if len(self.times) > 1 else 1
        return self.times[0] - (self.delay - index) * step


def _video_packets(order: _Order, stream: Any, time_base: Fraction) -> Iterator[Any]:
    for packet, decoded in order:
        muxed = library.av().Packet(packet.content)
        muxed.pts, muxed.dts, muxed.duration = packet.pts, decoded, packet.duration
        muxed.time_base = time_base
        muxed.is_keyframe = packet.key
        muxed.stream = stream
        yield muxed


def _when(packet: Any) -> Any:
    time = packet.dts if packet.dts is not None else packet.pts
    return None if time is None else time * packet.time_base


def _at(when: Fraction | None) -> str:
    return "" if when is None else f" at {float(when):.3f} s"
