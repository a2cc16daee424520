"""What an image file says about itself before it is decoded: format, size, transparency, and whether it is whole.

OpenCV decodes first and tells the size afterwards, too late for a file of a few kilobytes that unpacks to gigabytes;
and some versions turn a truncated JPEG into a grey picture without a word. Each function here reads one format's
header; sizes are in pixels. Functions raise ValueError, struct.error or IndexError where the bytes end too early.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
JPEG_START, JPEG_END = b"\xff\xd8", b"\xff\xd9"
JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
JPEG_SCAN = 0xDA
# Enough of a file to tell what it is.
HEAD_BYTES = 64
BMP_HEADER_SIZES = (12, 16, 40, 52, 56, 64, 108, 124)
TIFF_WIDTH, TIFF_HEIGHT, TIFF_EXTRA_SAMPLES = 256, 257, 338


@dataclass(frozen=True)
class ImageHeader:
    """Format ("PNG", "JPEG", "WebP", "BMP", "TIFF"), size in pixels as stored, and whether there is transparency."""

    format: str
    width: int
    height: int
    alpha: bool = False


def known_formats() -> str:
    """Return the formats' names as part of a sentence."""
    *others, last = _FORMATS
    return f"{', '.join(others)} or {last}"


def recognise(head: bytes) -> str | None:
    """Return the format ("PNG", "JPEG", "WebP", "BMP" or "TIFF") of a file that begins so, None where it is no image.

    ``head`` are its first HEAD_BYTES. Any text may begin with "BM", so a BMP's header has to be of a known size.
    """
    if head.startswith(b"BM") and int.from_bytes(head[14:18], "little") not in BMP_HEADER_SIZES:
        return None
    return next((name for name, (signature, _) in _FORMATS.items() if signature.match(head)), None)


def read_header(content: bytes) -> ImageHeader:
    """Read the header of an image file; raises ValueError with the reason where it is no image or is cut off."""
    for signature, read in _FORMATS.values():
        if signature.match(content):
            try:
                header = read(content)
            except (struct.error, IndexError):
                raise ValueError("truncated") from None
            if header.width < 1 or header.height < 1:
                raise ValueError("corrupt: its header gives no size")
            return header
    raise ValueError(f"not a {known_formats()} image" if content else "empty")


def _png(content: bytes) -> ImageHeader:
    width, height, _, colour = struct.unpack_from(">II2B", content, 16)
    kinds = set(_png_chunks(content))
    return ImageHeader("PNG", width, height, alpha=bool(colour & 4) or b"tRNS" in kinds)


def _png_chunks(content: bytes) -> Iterator[bytes]:
    """Yield the kind of each chunk up to IEND, its checksum verified."""
    view, position, kind = memoryview(content), len(PNG_SIGNATURE), b""
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", content, position)
        end = position + 8 + length
        if struct.unpack_from(">I", content, end)[0] != zlib.crc32(view[position + 4 : end]):
            raise ValueError("corrupt: a checksum does not match")
        yield kind
        position = end + 4


def _jpeg(content: bytes) -> ImageHeader:
    size = (0, 0)
    position = len(JPEG_START)
    while True:
        while content[position + 1] == 0xFF:  # fill bytes
            position += 1
        mark, marker, length = struct.unpack_from(">BBH", content, position)
        if mark != 0xFF:
            raise ValueError("corrupt: its header is damaged")
        if marker in JPEG_FRAMES and size == (0, 0):
            size = struct.unpack_from(">HH", content, position + 5)
        if marker == JPEG_SCAN:
            break
        position += 2 + length
    if content.rfind(JPEG_END, position) < 0:
        raise ValueError("truncated")
    height, width = size
    return ImageHeader("JPEG", width, height)


def _webp(content: bytes) -> ImageHeader:
    if len(content) < 8 + struct.unpack_from("<I", content, 4)[0]:
        raise ValueError("truncated")
    kind = content[12:16]
    if kind == b"VP8X":
        width = 1 + int.from_bytes(content[24:27], "little")
        height = 1 + int.from_bytes(content[27:30], "little")
        return ImageHeader("WebP", width, height, alpha=bool(content[20] & 0x10))
    if kind == b"VP8L":
        bits = struct.unpack_from("<I", content, 21)[0]
        return ImageHeader("WebP", 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF), alpha=bool(bits >> 28 & 1))
    width, height = struct.unpack_from("<HH", content, 26)
    return ImageHeader("WebP", width & 0x3FFF, height & 0x3FFF)


def _bmp(content: bytes) -> ImageHeader:
    header_size = struct.unpack_from("<I", content, 14)[0]
    width, height = struct.unpack_from("<HH" if header_size == 12 else "<ii", content, 18)
    return ImageHeader("BMP", width, abs(height))


def _tiff(content: bytes) -> ImageHeader:
    order = "<" if content.startswith(b"II") else ">"
    directory = struct.unpack_from(order + "I", content, 4)[0]
    tags: dict[int, int] = {}
    for entry in range(struct.unpack_from(order + "H", content, directory)[0]):
        position = directory + 2 + 12 * entry
        tag, kind = struct.unpack_from(order + "HH", content, position)
        tags.setdefault(tag, struct.unpack_from(order + ("H" if kind == 3 else "I"), content, position + 8)[0])
    return ImageHeader("TIFF", tags.get(TIFF_WIDTH, 0), tags.get(TIFF_HEIGHT, 0), TIFF_EXTRA_SAMPLES in tags)


_FORMATS: dict[str, tuple[re.Pattern[bytes], Callable[[bytes], ImageHeader]]] = {
    "PNG": (re.compile(re.escape(PNG_SIGNATURE)), _png),
    "JPEG": (re.compile(JPEG_START), _jpeg),
    "WebP": (re.compile(rb"RIFF.{4}WEBP", re.DOTALL), _webp),
    "BMP": (re.compile(b"BM"), _bmp),
    "TIFF": (re.compile(rb"II\*\0|MM\0\*"), _tiff),
}
