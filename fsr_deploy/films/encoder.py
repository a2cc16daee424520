"""The codec that a film is written with: its options, and encoders that give the same packets in every run."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fsr_deploy.errors import UsageError, refuse_unknown
from fsr_deploy.films import library
from fsr_deploy.films.colour import Colours

# What frames can be turned into. Each name gives bits and subsampling.
PIX_FMTS = tuple(f"yuv{kind}p{depth}" for depth in ("", "10le", "12le") for kind in ("420", "422", "444"))
DEFAULT_CODEC = "libx264"
# Encoders share their work out by the number of threads, and so does what they write: it must not be the machine's.
THREADS = 4
_GLOBAL_HEADER = 1 << 22  # parameter sets go into the container's head, as MP4 and Matroska want it


@dataclass(frozen=True)
class _Known:
    """An encoder with a quality scale: the default, the worst, its further options for equal packets, and the least
    width and height that it has them from.
    """

    crf: int
    worst: int
    options: tuple[tuple[str, str], ...] = ()
    least: int = 1


_KNOWN = {
    # Its routines for AVX-512 write other packets in each run; those that are equal on every CPU take no longer.
    "libx264": _Known(16, 51, (("x264-params", "cpu-independent=1"),)),
    # In frames of 64 pixels a side and less it writes other packets in each run, or overwrites memory.
    "libx265": _Known(18, 51, (("x265-params", f"log-level=none:frame-threads={THREADS}:lookahead-slices=1"),), 65),
    "libsvtav1": _Known(23, 63, (("svtav1-params", f"lp={THREADS}"),)),
    "libvpx-vp9": _Known(23, 63, (("b", "0"), ("row-mt", "1"))),
}


@dataclass(frozen=True)
class Choice:
    """What a user chose for the new film's video; ``crf`` and ``pix_fmt`` are None for the default.

    Raises UsageError for values that no film could have, MissingError without PyAV.
    """

    codec: str = DEFAULT_CODEC
    crf: float | None = None
    pix_fmt: str | None = None

    def __post_init__(self) -> None:
        if self.pix_fmt is not None:
            refuse_unknown("--pix-fmt", self.pix_fmt, PIX_FMTS)
        # The name of a format, such as h264, stands for an encoder; its quality and options go by its own name.
        object.__setattr__(self, "codec", _codec(self.codec).name)
        known = _KNOWN.get(self.codec)
        if self.crf is not None and not known:
            raise UsageError(f"--crf {self.crf:g}: {self.codec} has no such quality; {', '.join(_KNOWN)} have")
        if self.crf is not None and known and not 0 <= self.crf <= known.worst:
            raise UsageError(f"--crf {self.crf:g}: give a number from 0 (best) to {known.worst} for {self.codec}")


@dataclass(frozen=True)
class Video:
    """Everything about the new film's video that decides about its packets."""

    codec: str
    crf: float | None
    pix_fmt: str
    size: tuple[int, int]
    colours: Colours
    aspect: Fraction | None
    time_base: Fraction
    rate: Fraction

    @property
    def bits(self) -> int:
        """Bits per sample."""
        return int(self.pix_fmt.partition("p")[2].removesuffix("le") or 8)

    @property
    def halved(self) -> tuple[bool, bool]:
        """Whether chroma has half the columns, and half the rows."""
        return "444" not in self.pix_fmt, "420" in self.pix_fmt

    def options(self) -> dict[str, str]:
        """Return the encoder's own options."""
        known = _KNOWN.get(self.codec)
        return {**({"crf": f"{self.crf:g}"} if self.crf is not None else {}), **dict(known.options if known else ())}


def choose(choice: Choice, size: tuple[int, int], bits: int, colours: Colours, **facts: Any) -> Video:
    """Return the video for a choice and a film of ``bits``; raises UsageError for an encoder that does not exist, does
    not take the pixel format or the size, or cannot be opened with them.
    """
    pix_fmt = choice.pix_fmt or ("yuv420p" if bits == 8 else "yuv420p10le")
    codec = _codec(choice.codec)
    kinds = [kind.name for kind in codec.video_formats or ()]
    if kinds and pix_fmt not in kinds:
        possible = [name for name in PIX_FMTS if name in kinds]
        takes = f"it takes {', '.join(possible)}" if possible else "it takes none that fsr-run can write"
        told = "--pix-fmt" if choice.pix_fmt else f"the film has {bits} bits:"
        raise UsageError(f"--codec {choice.codec} does not take {told} {pix_fmt}; {takes}")
    known = _KNOWN.get(choice.codec)
    if known and min(size) < known.least:
        raise UsageError(
            f"--codec {choice.codec}: frames of {size[0]}x{size[1]} are too small for it, it needs {known.least} pixels"
            " a side; libx264 takes them"
        )
    crf = choice.crf if choice.crf is not None else known.crf if known else None
    video = Video(choice.codec, crf, pix_fmt, size, colours, **facts)
    odd = any(side % 2 and half for side, half in zip(size, video.halved, strict=True))
    try:
        open_encoder(video)
    except library.errors() as error:
        advice = "; an odd size needs --pix-fmt yuv444p" if odd else ""
        raise UsageError(
            f"--codec {choice.codec}: cannot write {size[0]}x{size[1]} in {pix_fmt}: {library.reason(error)}{advice}"
        ) from error
    return video


def _codec(name: str) -> Any:
    """Return an encoder for video; raises UsageError where there is none of that name."""
    av = library.av()
    with suppress(ValueError):
        codec = av.Codec(name, "w")
        if codec.type == "video":
            return codec
    there = [known for known in (*_KNOWN, "ffv1", "prores_ks", "mpeg4") if known in av.codecs_available]
    raise UsageError(f"--codec {name}: not a video encoder of this PyAV; it has {', '.join(there)} and others")


def configure(context: Any, video: Video) -> None:
    """Set up an encoder's context that is not open yet."""
    context.width, context.height = video.size
    context.pix_fmt = video.pix_fmt
    context.time_base = video.time_base
    context.framerate = video.rate
    context.thread_count = THREADS
    context.thread_type = "FRAME"
    context.flags |= _GLOBAL_HEADER
    context.colorspace = video.colours.matrix
    context.color_range = video.colours.range
    context.color_primaries = video.colours.primaries
    context.color_trc = video.colours.transfer
    if video.aspect:
        context.sample_aspect_ratio = video.aspect
    context.options = video.options()


def open_encoder(video: Video) -> Any:
    """Return an encoder that is ready; raises what ``library.errors`` names where that fails."""
    os.environ.setdefault("SVT_LOG", "1")  # SVT-AV1 prints its settings otherwise
    context = library.av().CodecContext.create(video.codec, "w")
    configure(context, video)
    context.open()
    return context


def to_frame(planes: list[NDArray[Any]], video: Video, time: int) -> Any:
    """Return planes as a frame for the encoder."""
    frame = library.av().VideoFrame(*video.size, video.pix_fmt)
    for target, source in zip(frame.planes, planes, strict=True):
        rows = np.frombuffer(memoryview(target), source.dtype)
        width = target.line_size // source.itemsize
        rows[: width * target.height].reshape(target.height, width)[:, : source.shape[1]] = source
    frame.pts, frame.time_base = time, video.time_base
    frame.colorspace, frame.color_range = video.colours.matrix, video.colours.range
    return frame
