"""Hostile films: each attacks something that a reader of films could trust.

python -m tests.attacks.hostile_films FOLDER
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from tests.films.drawn import draw, planes_of


def seed(path: Path, side: int = 16, **options: object) -> bytes:
    """Return the content of a film of six small square frames; ``path`` names its container."""
    frames = [planes_of(index, (side, side)) for index in range(6)]
    if options.get("pix_fmt") == "yuv420p":
        frames = [[luma, u[::2, ::2], v[::2, ::2]] for luma, u, v in frames]
    content = draw(path, frames, range(0, 240, 40), **options).read_bytes()  # type: ignore[arg-type]
    path.unlink()
    return content


def _box(kind: bytes, content: bytes, size: int | None = None) -> bytes:
    return struct.pack(">I4s", 8 + len(content) if size is None else size, kind) + content


def _replaced(content: bytes, box: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """Return an MP4 with the 16 bytes after a box's name changed."""
    at = content.index(box) + 4
    return content[:at] + change(content[at : at + 16]) + content[at + 16 :]


def _of_mp4(content: bytes) -> Iterator[tuple[str, bytes]]:
    many = struct.pack(">III", 0, 0xFFFFFFFF, 0xFFFFFFFF)
    yield (
        "huge_sample_count.mp4",
        _replaced(content, b"stsz", lambda old: struct.pack(">III", 0, 0, 0x7FFFFFFF) + old[12:]),
    )
    yield "huge_chunk_count.mp4", _replaced(content, b"stco", lambda old: many[4:8] * 2 + old[8:])
    yield "offsets_outside.mp4", _replaced(content, b"stco", lambda old: old[:8] + b"\xff" * 8)
    yield "time_base_of_0.mp4", _replaced(content, b"mdhd", lambda old: old[:12] + b"\0" * 4)
    yield "times_far_apart.mp4", _replaced(content, b"stts", lambda old: old[:12] + b"\x7f\xff\xff\xff")
    yield "all_at_one_time.mp4", _replaced(content, b"stts", lambda old: old[:12] + b"\0\0\0\0")
    yield "box_of_no_size.mp4", content[:24] + _box(b"moov", b"", 1) + content[24:]
    yield "box_in_itself.mp4", content[:24] + _box(b"moov", _box(b"trak", b"", 0xFFFFFFFF)) * 64
    yield (
        "size_of_65535.mp4",
        _replaced(content, b"avc1", lambda old: old).replace(
            struct.pack(">HH", 16, 16), struct.pack(">HH", 65535, 65535)
        ),
    )
    yield "many_tracks.mp4", content[:24] + _box(b"moov", _box(b"trak", b"") * 5000)


def _of_matroska(content: bytes) -> Iterator[tuple[str, bytes]]:
    yield "size_of_all.mkv", content[:8] + b"\x01" + b"\xff" * 7 + content[16:]
    yield "elements_in_elements.mkv", content[:4] + b"\x9f" + b"\x18\x53\x80\x67\xff" * 2000
    yield "cut_in_the_head.mkv", content[:60]
    yield "zeros_in_the_middle.mkv", content[: len(content) // 2] + bytes(512) + content[len(content) // 2 + 512 :]


def hostile_films(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Yield names and contents; ``folder`` is for what is written meanwhile."""
    mp4 = seed(folder / "seed.mp4")
    yield from _of_mp4(mp4)
    yield from _of_matroska(seed(folder / "seed.mkv", codec="ffv1"))
    gif = b"GIF89a\xff\xff\xff\xff\x80\0\0" + b"\0" * 6
    frame = b"\x2c\0\0\0\0\x01\0\x01\0\0\x02\x02\x44\x01\0"
    yield "frames_of_nothing.gif", gif + frame * 3 + b";"
    yield "many_frames.gif", b"GIF89a\x01\0\x01\0\x80\0\0" + b"\0" * 6 + frame * 3000 + b";"
    noise = np.random.default_rng(0).bytes(4096)
    yield "noise.ts", b"".join(b"\x47" + noise[at : at + 187] for at in range(0, 3740, 187))
    yield "noise.h264", b"\0\0\0\x01\x67" + noise
    yield "noise.avi", b"RIFF\xff\xff\xff\xffAVI LIST" + noise
    yield "noise.flv", b"FLV\x01\x05\0\0\0\x09" + noise
    yield "playlist.ts", b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"
    yield "list_of_files.mp4", b"ffconcat version 1.0\nfile /etc/passwd\n"
    yield "description.mp4", b"v=0\nm=video 5004 RTP/AVP 96\nc=IN IP4 127.0.0.1\n"
    reference = _box(b"dref", struct.pack(">II", 0, 1) + _box(b"url ", struct.pack(">I", 0) + b"file:///etc/passwd\0"))
    yield "data_elsewhere.mov", mp4.replace(mp4[mp4.index(b"dref") - 4 :][: len(reference)], reference)


def main(folder: Path) -> None:
    """Write all of them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in hostile_films(folder):
        (folder / name).write_bytes(content)
        print(f"{folder / name}: {len(content)} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
