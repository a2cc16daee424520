"""A film's frames, decoded in order, each with its number and time; what cannot be decoded is named."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from fsr_deploy.films import library
from fsr_deploy.films.bad import BadParts
from fsr_deploy.films.colour import Pixels, to_rgb
from fsr_deploy.films.survey import Film, is_picture_packet

LOST = "left out, cannot be decoded"
DAMAGED = "damaged, the picture is what the decoder made of it"


@dataclass(frozen=True)
class Decoded:
    """A decoded frame as PyAV holds it, and its number."""

    number: int
    frame: Any


def upright(film: Film, decoded: Decoded) -> Pixels:
    """Return a decoded frame as (h, w, 3) RGB as it is to be seen, uint8, or uint16 for more than 8 bits."""
    return film.turn(to_rgb(decoded.frame, film.colours))


class Frames:
    """Decodes a film from its beginning and yields the frames whose numbers are ``wanted``.

    All frames are decoded, because a decoder that begins in the middle may give other pixels. A frame that is lost
    keeps its number. One of another size than the first is left out, as are frames out of order; one that the decoder
    patched is kept. All are added to ``bad``. Use it in one thread.
    """

    def __init__(self, film: Film, bad: BadParts, wanted: Callable[[int], bool] = lambda number: True) -> None:
        self._film = film
        self._bad = bad
        self._wanted = wanted
        self._number_of = {time: number for number, time in enumerate(film.times)} if film.by_time else {}
        self._next = 0
        self._damaged: set[int] = set()
        self._error = ""
        self._failed = False

    def __iter__(self) -> Iterator[Decoded]:
        """Yield the frames; ends early where the file cannot be read any further."""
        with library.listening() as messages, library.open_film(self._film.path) as container:
            stream = container.streams[self._film.stream]
            packets = 0
            try:
                for packet in container.demux(stream):
                    number = self._number(packet.pts, packets)
                    packets += is_picture_packet(packet, self._film.codec)
                    for frame in self._decode(packet, number, messages):
                        yield from self._placed(frame)
                    if self._failed and not self._film.by_time:  # the frames after it keep their times
                        self._lost_before(min(self._next + 1, len(self._film.times)))
            except library.errors() as error:
                self._error = library.reason(error)
            finally:
                library.rest(stream)
            self._lost_before(len(self._film.times))
            self._bad.close()

    def _number(self, time: int | None, sequential: int) -> int:
        return self._number_of.get(time, sequential) if time is not None else sequential

    def _decode(self, packet: Any, number: int, messages: library.Messages) -> list[Any]:
        frames: list[Any] = []
        self._failed = False
        with messages.heard(self._film.codec) as heard:
            try:
                frames = packet.decode()
            except library.errors() as error:
                self._error, self._failed = library.reason(error), True
        if heard or packet.is_corrupt:
            self._damaged.add(number)
        return frames

    def _placed(self, frame: Any) -> Iterator[Decoded]:
        number = self._number_of.get(frame.pts, -1) if self._film.by_time else self._next
        if number < self._next or number >= len(self._film.times):
            self._bad.add(self._next, "left out, out of order or without a time of its own")
            return
        self._lost_before(number)
        self._next = number + 1
        seconds = self._film.seconds(number)
        if (frame.width, frame.height) != self._film.size:
            width, height = self._film.size
            reason = f"left out, {frame.width}x{frame.height} and not {width}x{height} as the first"
            self._bad.add(number, reason, seconds)
            return
        if number in self._damaged or frame.is_corrupt:
            self._bad.add(number, DAMAGED, seconds)
        if self._wanted(number):
            yield Decoded(number, frame)

    def _lost_before(self, number: int) -> None:
        reason = f"{LOST} ({self._error})" if self._error else LOST
        for lost in range(self._next, number):
            self._bad.add(lost, reason, self._film.seconds(lost))
        self._next = max(self._next, number)
