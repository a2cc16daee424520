"""What a TIFF file, classic or BigTIFF, says about its first picture."""

from __future__ import annotations

import struct
from dataclasses import dataclass

WIDTH, HEIGHT, COLOURS, ORIENTATION = 256, 257, 262, 274
TILE_WIDTH, TILE_HEIGHT, EXTRA_SAMPLES, PROFILE = 322, 323, 338, 34675
NEW_SUBFILE, DNG_VERSION = 254, 50706
SHORT, LONG, LONG8 = 3, 4, 16
SIZES = {SHORT: "H", LONG: "I", LONG8: "Q"}
MAX_ENTRIES = 4096


@dataclass(frozen=True)
class TiffHeader:
    """Size in pixels, ``colours`` ("grey", "RGB", "CMYK" or "Lab"), EXIF orientation 1 to 8, and the ICC profile.

    ``tile`` is the (width, height) of the pieces that it is stored in, (0, 0) where those are rows.
    """

    width: int
    height: int
    tile: tuple[int, int]
    alpha: bool
    colours: str
    orientation: int
    profile: bytes | None


def read_tiff_header(content: bytes) -> TiffHeader:
    """Read the first directory; raises ValueError where it is ambiguous or corrupt, struct.error where it is cut
    off."""
    file = _Directory(content)
    if file.number(NEW_SUBFILE) & 1 or DNG_VERSION in file.entries:
        raise ValueError("its first picture is a preview, as in a camera's raw file; develop it to PNG or JPEG")
    colours = file.number(COLOURS, 2)
    return TiffHeader(
        width=file.number(WIDTH),
        height=file.number(HEIGHT),
        tile=(file.number(TILE_WIDTH), file.number(TILE_HEIGHT)),
        alpha=EXTRA_SAMPLES in file.entries,
        colours={0: "grey", 1: "grey", 5: "CMYK", 8: "Lab", 9: "Lab", 10: "Lab"}.get(colours, "RGB"),
        orientation=file.number(ORIENTATION, 1),
        profile=file.data(PROFILE),
    )


class _Directory:
    """The entries of the first directory: tag -> (type, count, position of the value or of its offset)."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.order = "<" if content.startswith(b"II") else ">"
        self.big = content[2:4] in (b"+\0", b"\0+")
        self.word = "Q" if self.big else "I"
        start = self._unpack(self.word, 8 if self.big else 4)
        count = self._unpack("Q" if self.big else "H", start)
        if count > MAX_ENTRIES:
            raise ValueError("corrupt: its directory is too long")
        self.entries: dict[int, tuple[int, int, int]] = {}
        for entry in range(count):
            position = start + (8 + 20 * entry if self.big else 2 + 12 * entry)
            tag, kind = (self._unpack("H", position + offset) for offset in (0, 2))
            value = (kind, self._unpack(self.word, position + 4), position + (12 if self.big else 8))
            self.entries.setdefault(tag, value)  # libtiff takes the first of several too

    def number(self, tag: int, default: int = 0) -> int:
        """Return a tag's single number; raises ValueError where readers could read different numbers."""
        if tag not in self.entries:
            return default
        kind, count, position = self.entries[tag]
        if kind not in SIZES or count != 1 or (kind == LONG8 and not self.big):
            raise ValueError(f"corrupt: tag {tag} is no plain number")
        return self._unpack(SIZES[kind], position)

    def data(self, tag: int) -> bytes | None:
        """Return a tag's bytes, empty where they lie outside of the file, None without the tag."""
        if tag not in self.entries:
            return None
        _, count, position = self.entries[tag]
        start = self._unpack(self.word, position)
        return self.content[start : start + count] if start + count <= len(self.content) else b""

    def _unpack(self, form: str, position: int) -> int:
        if position > len(self.content):  # 64 bits may be more than struct takes
            raise struct.error("beyond the end")
        return int(struct.unpack_from(self.order + form, self.content, position)[0])
