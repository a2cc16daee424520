"""A first look at a film: every packet is read once, and frames are decoded until there is one.

Afterwards everything is known that decides about the output: how many frames there are and when, their size, colours
and bits, and what else is in the film. So a film that cannot be done is refused before anything is written.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from fsr_deploy._util.files import file_sha256, is_folder, status
from fsr_deploy.errors import InputError
from fsr_deploy.films import library
from fsr_deploy.films.colour import Colours, bits_of, colours_of, converted
from fsr_deploy.films.turn import Turn, turn_of
from fsr_deploy.images.opencv import MAX_PIXELS

_DEFAULT_RATE = Fraction(25)
_HDR = {16: "PQ", 18: "HLG"}  # FFmpeg's numbers of transfers
# What frames may hold beside their pixels, by FFmpeg's names.
_NOT_CARRIED = {
    "A53_CC": "closed captions inside the video",
    "MASTERING_DISPLAY_METADATA": "the measures of the display that an HDR film was made for",
    "CONTENT_LIGHT_LEVEL": "an HDR film's light levels",
    "DOVI_METADATA": "Dolby Vision's instructions",
    "DYNAMIC_HDR_PLUS": "HDR10+'s instructions",
}


@dataclass(frozen=True)
class OtherStream:
    """A stream beside the film's own: its index, and words that name it."""

    index: int
    kind: str
    name: str


@dataclass(frozen=True)
class Film:
    """What is known of a film.

    ``times`` are its frames' times in units of ``time_base``, rising. With ``by_time`` a decoded frame's own time tells
    its number; otherwise frames are numbered as they are decoded. ``size`` is (width, height) as decoded, before
    ``turn``. ``last_duration`` is how long the last frame is shown. ``aspect`` is the width of a pixel by its height.
    ``warnings`` are sentences about what is lost, ``broken`` what is wrong with the film as a whole.
    """

    path: Path
    sha256: str
    stream: int
    codec: str
    size: tuple[int, int]
    pix_fmt: str
    bits: int
    colours: Colours
    turn: Turn
    aspect: Fraction | None
    time_base: Fraction
    times: tuple[int, ...]
    by_time: bool
    last_duration: int
    rate: Fraction
    others: tuple[OtherStream, ...] = ()
    warnings: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()

    @property
    def upright(self) -> tuple[int, int]:
        """(width, height) of its frames when they are upright."""
        return self.turn.size(*self.size)

    def seconds(self, number: int) -> float:
        """Return when a frame is shown."""
        return float(self.times[number] * self.time_base)


@dataclass
class _Packets:
    """The packets of the film's own stream: their times, what ends the reading, and the end of all streams."""

    pts: list[int | None] = field(default_factory=list)
    dts: list[int | None] = field(default_factory=list)
    durations: dict[int, int] = field(default_factory=dict)
    read: int = 0
    end: Fraction = Fraction(0)
    error: str = ""
    frame: Any = None
    decoding_error: str = ""


def survey(path: Path) -> Film:
    """Look at a film; raises InputError where it is none, holds no frames, or none that can be decoded."""
    if not status(path):
        raise InputError(f"{path}: no such file or folder")
    if is_folder(path) or not path.is_file():
        raise InputError(f"{path}: not a file")
    digest = file_sha256(path)
    with library.listening() as kept, kept.heard() as messages:
        try:
            container = library.open_film(path)
        except library.errors() as error:
            detail = f" ({messages[-1]})" if messages else ""
            raise InputError(f"{path}: cannot be read as a film: {library.reason(error)}{detail}") from error
        with container:
            stream = _own_stream(container, path)
            packets = _read(container, stream)
            try:
                return _film(path, digest, container, stream, packets)
            except library.errors() as error:
                raise InputError(f"{path}: cannot be read as a film: {library.reason(error)}") from error


def _own_stream(container: Any, path: Path) -> Any:
    streams = [stream for stream in container.streams.video if not _is_cover(stream)]
    if not streams:
        kinds = ", ".join(dict.fromkeys(stream.type for stream in container.streams))
        raise InputError(f"{path}: has no video stream{f', only {kinds}' if kinds else ''}")
    best = container.streams.best("video") if hasattr(container.streams, "best") else None
    stream = best if best is not None and not _is_cover(best) else streams[0]
    if stream.codec_context is None:
        raise InputError(f"{path}: its video is coded in a way that FFmpeg cannot decode")
    return stream


def _is_cover(stream: Any) -> bool:
    return bool(stream.disposition & library.av().stream.Disposition.attached_pic)


def is_picture_packet(packet: Any, codec: str) -> bool:
    """Tell whether a packet becomes a frame: neither one that the film cuts away, nor one of VP8 that is not shown."""
    if packet.is_discard or not packet.size:
        return False
    return not (codec == "vp8" and not bytes(packet)[0] & 0x10)


def _read(container: Any, stream: Any) -> _Packets:
    found = _Packets()
    codec = stream.codec_context.name
    try:
        for packet in container.demux():
            when = packet.pts if packet.pts is not None else packet.dts
            if when is not None and packet.time_base:
                found.end = max(found.end, (when + (packet.duration or 0)) * Fraction(packet.time_base))
            if packet.stream_index != stream.index:
                continue
            found.read += bool(packet.size)
            if is_picture_packet(packet, codec):
                found.pts.append(packet.pts)
                found.dts.append(packet.dts)
                if packet.pts is not None:
                    found.durations[packet.pts] = packet.duration or 0
            if found.frame is None:
                _decode_first(packet, found)
    except library.errors() as error:
        found.error = library.reason(error)
    library.rest(stream)
    return found


def _decode_first(packet: Any, found: _Packets) -> None:
    try:
        found.frame = next(iter(packet.decode()), None)
    except library.errors() as error:
        found.decoding_error = library.reason(error)


def _film(path: Path, digest: str, container: Any, stream: Any, packets: _Packets) -> Film:
    count = len(packets.pts)
    if not count:
        raise InputError(f"{path}: its video stream holds no frames{_because(packets.error)}")
    frame = packets.frame
    if frame is None:
        raise InputError(f"{path}: none of its {count} frames can be decoded{_because(packets.decoding_error)}")
    if frame.width * frame.height > MAX_PIXELS:
        raise InputError(f"{path}: {frame.width}x{frame.height} pixels, over the limit of {MAX_PIXELS}")
    rate = Fraction(stream.average_rate or stream.guessed_rate or _DEFAULT_RATE)
    times, time_base, by_time, timing = _times(packets, stream, container.format.name, rate)
    context = stream.codec_context
    try:
        colours = colours_of(frame, int(context.color_primaries), int(context.color_trc))
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    step = times[-1] - times[-2] if count > 1 else round(1 / rate / time_base)
    last = packets.durations.get(times[-1], 0) if by_time else 0
    turn = turn_of(frame)
    return Film(
        path,
        digest,
        stream.index,
        stream.codec_context.name,
        (frame.width, frame.height),
        frame.format.name,
        bits_of(frame.format),
        colours,
        turn,
        _aspect(stream.sample_aspect_ratio, turn),
        time_base,
        times,
        by_time,
        last or max(step, 1),
        rate,
        tuple(OtherStream(other.index, other.type, _name(other)) for other in container.streams if other is not stream),
        (*timing, *_losses(frame, turn, colours)),
        tuple(_broken(container, stream, packets, step * time_base)),
    )


def _times(packets: _Packets, stream: Any, container: str, rate: Fraction) -> tuple[Any, Fraction, bool, list[str]]:
    """Return the frames' times, their unit, whether frames carry them, and a warning where they are made up.

    The packets of AVI are numbered as they are stored, which is not the order in which frames are shown.
    """
    base = Fraction(stream.time_base) if stream.time_base else 1 / rate
    for values, by_time in ((packets.pts, "avi" not in container), (packets.dts, False)):
        known = [value for value in values if value is not None]
        if len(known) == len(values) == len(set(known)) and (by_time or values is packets.dts):
            return tuple(sorted(known)), base, by_time, []
    line = f"the film has no times, or not for all frames; {float(rate):g} frames a second are taken"
    return tuple(range(len(packets.pts))), 1 / rate, False, [line]


def _broken(container: Any, stream: Any, packets: _Packets, step: Fraction) -> Iterator[str]:
    """Yield what is missing: MP4 knows how many frames there are, Matroska how long the film is."""
    if packets.error:
        yield f"the file cannot be read to its end: {packets.error}"
    elif "mp4" in container.format.name and (wanted := len(getattr(stream, "index_entries", ()))) > packets.read:
        yield f"the file is cut off: {packets.read} of {wanted} frames are in it"
    elif "matroska" in container.format.name and container.duration:
        duration = Fraction(container.duration, 1_000_000)
        if packets.end + 3 * step < duration:
            yield f"the file is cut off: it ends at {float(packets.end):.3f} of {float(duration):.3f} s"


def _losses(frame: Any, turn: Turn, colours: Colours) -> Iterator[str]:
    if name := _HDR.get(colours.transfer):
        yield f"its brightness is coded for HDR ({name}), and frames are restored as they are; networks know SDR only"
    kinds = {data.type.name for data in frame.side_data}
    for lost, what in _NOT_CARRIED.items():
        if lost in kinds:
            yield f"{what} are not carried over"
    if any(component.is_alpha for component in frame.format.components) and _is_transparent(frame):
        yield "transparency is dropped"
    if frame.interlaced_frame:
        yield "the film is interlaced; its frames are taken as they are, with both fields"
    if turn.odd:
        yield "its display matrix asks for more than right angles and mirrors; the rest is not done"


def _is_transparent(frame: Any) -> bool:
    return bool((converted(frame, "rgba").to_ndarray()[..., 3] < 255).any())


def _aspect(aspect: Fraction | None, turn: Turn) -> Fraction | None:
    if not aspect or aspect == 1:
        return None
    return 1 / Fraction(aspect) if turn.exchanged else Fraction(aspect)


def _because(error: str) -> str:
    return f": {error}" if error else ""


def _name(stream: Any) -> str:
    """Return words for a stream: its kind, its place in the file, codec and language."""
    codec = getattr(stream, "name", None) or (stream.codec_context.name if stream.codec_context else None)
    parts = [codec or "unknown", stream.language or ""]
    kind = "cover picture" if stream.type == "video" and _is_cover(stream) else f"{stream.type} stream"
    return f"{kind} {stream.index} ({', '.join(part for part in parts if part)})"
