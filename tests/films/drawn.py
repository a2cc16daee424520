"""Films drawn by the tests, stand-ins for what restores them, and what is in a film."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from fsr_deploy.films.colour import BT601, LIMITED, Colours, Pixels
from fsr_deploy.films.encoder import Choice
from fsr_deploy.films.run import FilmSettings, restore_film
from fsr_deploy.films.summary import FilmSummary
from fsr_deploy.films.survey import survey

COUNT, SIZE = 20, 32
MILLISECONDS = Fraction(1, 1000)
LOSSLESS = Choice("libx264", 0, "yuv444p")
# No two frames are shown equally long.
UNEVEN = tuple(int(time) for time in np.cumsum([0, *(7 * step + 30 for step in range(COUNT - 1))]))


class Nearest:
    """Repeats every pixel ``scale`` times; takes ``batch`` frames and remembers the numbers that it was given."""

    in_flight = 2

    def __init__(self, scale: int = 1, batch: int = 3) -> None:
        self.scale = scale
        self.batch = batch
        self.made_with = f"nearest {scale}"
        self.firsts: list[tuple[int, int]] = []

    def size(self, width: int, height: int) -> tuple[int, int]:
        return width * self.scale, height * self.scale

    def restore(self, frames: Sequence[Pixels], first: int) -> list[Pixels]:
        self.firsts.append((first, len(frames)))
        return [frame.repeat(self.scale, axis=0).repeat(self.scale, axis=1) for frame in frames]


def planes_of(index: int, size: tuple[int, int] = (SIZE, SIZE)) -> list[NDArray[np.uint8]]:
    """Return Y, U and V (4:4:4) of a frame that tells its number: a bar that moves over grey."""
    width, height = size
    luma = np.full((height, width), 60, np.uint8)
    luma[:, index % width] = 200
    return [luma, np.full_like(luma, 110), np.full_like(luma, 140)]


def draw(
    path: Path,
    frames: Sequence[Sequence[NDArray[Any]]] | None = None,
    times: Sequence[int] = tuple(range(0, 40 * COUNT, 40)),
    time_base: Fraction = MILLISECONDS,
    codec: str = "libx264",
    pix_fmt: str = "yuv444p",
    colours: Colours = Colours(BT601, LIMITED),  # noqa: B008 - frozen
    rotation: int = 0,
    sounds: int = 0,
    subtitles: str = "",
    options: Mapping[str, str] | None = None,
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """Write a film; ``frames`` are planes, ``times`` in units of ``time_base``, ``subtitles`` the name of a codec."""
    pictures = frames if frames is not None else [planes_of(index) for index in range(len(times))]
    height, width = pictures[0][0].shape
    with av.open(str(path), "w") as film:
        film.metadata.update(metadata or {})
        lossless = {"qp": "0"} if codec == "libx264" else {}
        video: Any = film.add_stream(codec, rate=25, options=dict(options if options is not None else lossless))
        video.width, video.height, video.pix_fmt, video.time_base = width, height, pix_fmt, time_base
        context = video.codec_context
        context.time_base = time_base
        context.colorspace, context.color_range = colours.matrix, colours.range
        context.color_primaries, context.color_trc = colours.primaries, colours.transfer
        if rotation:
            if not hasattr(type(video), "set_display_rotation"):
                pytest.skip("this PyAV writes no rotation")
            video.set_display_rotation(rotation)
        tracks = [film.add_stream("aac", rate=8000, layout="mono") for _ in range(sounds)]
        if subtitles and not hasattr(film, "add_mux_stream"):
            pytest.skip("this PyAV writes no subtitles")
        texts = film.add_mux_stream(subtitles, time_base=MILLISECONDS) if subtitles else None
        for language, track in zip(("eng", "deu"), tracks, strict=False):
            track.metadata["language"] = language
        film.start_encoding()
        for track in tracks:
            film.mux(_sound(track, track.index))
        for start in range(0, 600, 300) if texts else ():
            packet = av.Packet(_text(subtitles, f"at {start}"))
            packet.pts = packet.dts = start
            packet.duration, packet.time_base, packet.stream = 200, MILLISECONDS, texts
            film.mux(packet)
        for planes, time in zip(pictures, times, strict=True):
            film.mux(video.encode(_frame(planes, pix_fmt, time, time_base)))
        film.mux(video.encode(None))
    return path


def _frame(planes: Sequence[NDArray[Any]], pix_fmt: str, time: int, time_base: Fraction) -> Any:
    height, width = planes[0].shape
    frame = av.VideoFrame(width, height, pix_fmt)
    for target, source in zip(frame.planes, planes, strict=True):
        rows = np.frombuffer(memoryview(target), source.dtype)
        stride = target.line_size // source.itemsize
        rows[: stride * target.height].reshape(target.height, stride)[:, : source.shape[1]] = source
    frame.pts, frame.time_base = time, time_base
    return frame


def _sound(track: Any, seed: int) -> list[Any]:
    samples = np.random.default_rng(seed).normal(0, 0.1, (1, 8000)).astype(np.float32)
    packets = []
    for start in range(0, 8000, 1000):
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples[:, start : start + 1000]), "fltp", "mono")
        frame.sample_rate, frame.pts, frame.time_base = 8000, start, Fraction(1, 8000)
        packets += track.encode(frame)
    return [*packets, *track.encode(None)]


def _text(codec: str, text: str) -> bytes:
    return len(text).to_bytes(2, "big") + text.encode() if codec == "mov_text" else text.encode()


def restore(
    source: Path, target: Path, scale: int = 1, choice: Choice = LOSSLESS, restorer: Any = None, **settings: Any
) -> FilmSummary:
    """Make the new film with a stand-in."""
    return restore_film(survey(source), target, restorer or Nearest(scale), FilmSettings(choice, **settings))


def times_of(path: Path) -> list[Fraction]:
    """Return when each frame is shown, in seconds, in that order."""
    with av.open(str(path)) as film:
        packets = [packet for packet in film.demux(film.streams.video[0]) if packet.size]
        return sorted(Fraction(packet.pts) * packet.time_base for packet in packets if packet.pts is not None)


def packets_of(path: Path, kind: str) -> list[tuple[int, Fraction | None, bytes]]:
    """Return the packets of all streams of a kind: the stream's place among them, time and content."""
    found = []
    with av.open(str(path)) as film:
        streams = [stream for stream in film.streams if stream.type == kind]
        places = {stream.index: place for place, stream in enumerate(streams)}
        for packet in film.demux(streams):
            if packet.size:
                time = None if packet.pts is None else packet.pts * packet.time_base
                found.append((places[packet.stream.index], time, bytes(packet)))
    return sorted(found, key=lambda row: (row[0], row[1] or 0))


def frames_of(path: Path) -> list[Any]:
    """Return the decoded frames as PyAV holds them."""
    with av.open(str(path)) as film:
        return list(film.decode(video=0))
