"""Finished parts of a film on disk: encoded video of a fixed number of frames, which a later run takes over.

Segment k has the frames k * LENGTH up to (k + 1) * LENGTH and was made by an encoder of its own, so it begins with a
key frame and refers to nothing outside: it is the same in every run. A hidden folder beside the film holds the
segments and their journal. A segment's file is a table of its packets and then their bytes.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fsr_deploy._util.files import read_file, replaced_file
from fsr_deploy.errors import InputError
from fsr_deploy.films import library
from fsr_deploy.films.encoder import Video, open_encoder
from fsr_deploy.runtime.folder.journal import Journal

LENGTH = 48  # two seconds: what a crash costs at most, and how far a player has to look back

_HEAD = struct.Struct("<8sI")  # magic, number of packets
_ROW = struct.Struct("<qqIB")  # pts, duration, size, 1 for a key frame
_MAGIC = b"fsrfilm1"


@dataclass(frozen=True)
class Packet:
    """An encoded packet; packets are in decoding order, times in units of the film's time base."""

    pts: int
    duration: int
    key: bool
    content: bytes


class FilmJournal(Journal):
    """The journal of one film: of its segments, and of the film itself, which lies beside their folder."""

    def _name(self, target: str | Path) -> str:
        return Path(target).name


def folder_of(film: Path) -> Path:
    """Return the hidden folder with a film's segments."""
    return film.with_name(f".{film.name}.fsr-run")


def segment_path(film: Path, index: int) -> Path:
    """Return a segment's file."""
    return folder_of(film) / f"segment_{index:06}"


def hash_of(*parts: object) -> str:
    """Return the hash of everything that a film or a segment depends on."""
    return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()


class SegmentEncoder:
    """Encodes the frames of one segment, in order; ``finish`` returns its packets."""

    def __init__(self, video: Video) -> None:
        self._encoder = open_encoder(video)
        self._packets: list[Packet] = []
        self._durations: dict[int, int] = {}

    def add(self, frame: Any, duration: int) -> None:
        """Encode a frame that is shown for ``duration``."""
        self._durations[frame.pts] = duration
        self._take(self._encoder.encode(frame))

    def finish(self) -> list[Packet]:
        """Return the segment's packets; raises InputError where the encoder lost a frame."""
        self._take(self._encoder.encode(None))
        if {packet.pts for packet in self._packets} != set(self._durations):
            raise InputError(
                f"{self._encoder.name} wrote {len(self._packets)} packets for {len(self._durations)} frames;"
                " take another --codec"
            )
        return self._packets

    def _take(self, packets: list[Any]) -> None:
        for packet in packets:
            duration = self._durations.get(packet.pts, 0)
            self._packets.append(Packet(packet.pts, duration, bool(packet.is_keyframe), bytes(packet)))


def write_segment(path: Path, packets: list[Packet], key: str, journal: Journal) -> None:
    """Put a segment in its place, recorded in the journal before; raises InputError where that is impossible."""
    table = b"".join(_ROW.pack(packet.pts, packet.duration, len(packet.content), packet.key) for packet in packets)
    content = b"".join((_HEAD.pack(_MAGIC, len(packets)), table, *(packet.content for packet in packets)))
    with replaced_file(path) as temporary:
        temporary.write_bytes(content)
        journal.add(path, key, content)


def read_segment(path: Path) -> list[Packet]:
    """Return a segment's packets; raises InputError where the file is not one that ``write_segment`` wrote."""
    content = read_file(path)
    try:
        return list(_parsed(content))
    except (struct.error, ValueError) as error:
        raise InputError(f"{path}: not a segment of a film; remove it and run again") from error


def count_packets(path: Path) -> int:
    """Return how many packets a segment has, 0 where its file cannot be read."""
    try:
        with path.open("rb") as stream:
            magic, count = _HEAD.unpack(stream.read(_HEAD.size))
    except (OSError, struct.error):
        return 0
    return int(count) if magic == _MAGIC else 0


def _parsed(content: bytes) -> Iterator[Packet]:
    magic, count = _HEAD.unpack_from(content)
    at = _HEAD.size + count * _ROW.size
    if magic != _MAGIC or at > len(content):
        raise ValueError
    for row in range(count):
        pts, duration, size, key = _ROW.unpack_from(content, _HEAD.size + row * _ROW.size)
        if at + size > len(content):
            raise ValueError
        yield Packet(pts, duration, bool(key), content[at : at + size])
        at += size
    if at != len(content):
        raise ValueError


def codec_version() -> str:
    """Return the versions of what encodes: another one may write other packets."""
    av = library.av()
    return f"PyAV {av.__version__}, {sorted(av.library_versions.items())}"
