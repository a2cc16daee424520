"""What an image file says about itself before it is decoded: format, size, colours, and whether it is whole.

OpenCV decodes first and gives the size afterwards, too late for a file of a few kilobytes that unpacks to gigabytes.
Some versions turn a truncated JPEG into a grey picture without an error. Each function here reads one format's header;
sizes are in pixels. Functions raise ValueError, struct.error or IndexError where the bytes end too early.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from fsr_deploy.images.tiff_header import read_tiff_header

# Enough of a file to recognise its format.
HEAD_BYTES = 64
MAX_PROFILE_BYTES = 8 << 20
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
JPEG_START, JPEG_END = b"\xff\xd8", b"\xff\xd9"
JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
JPEG_APP2, JPEG_SCAN = 0xE2, 0xDA
JPEG_COLOURS = {1: "grey", 4: "CMYK"}
ICC_MARK = b"ICC_PROFILE\0"
BMP_HEADER_SIZES = (12, 16, 40, 52, 56, 64, 108, 124)


@dataclass(frozen=True)
class ImageHeader:
    """A picture's format, size in pixels as stored, and colours.

    ``format`` is "PNG", "JPEG", "WebP", "BMP", "TIFF", "GIF" or "AVIF"; ``colours`` "grey", "RGB", "CMYK" or "Lab", of
    what is stored. ``profile`` is the ICC profile inside, empty where it is damaged, None without one. ``coarse`` tells
    that colours have five or six bits. ``orientation`` is a TIFF's, 1 to 8 as in EXIF; of the others it is not read.
    """

    format: str
    width: int
    height: int
    alpha: bool = False
    colours: str = "RGB"
    profile: bytes | None = None
    coarse: bool = False
    orientation: int = 1


def known_formats() -> str:
    """Return the formats' names as part of a sentence."""
    *others, last = _FORMATS
    return f"{', '.join(others)} or {last}"


def recognise(head: bytes) -> str | None:
    """Return the format of a file that begins so, None where it is no image that can be read.

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
    for name, signature in _UNREADABLE.items():
        if signature.match(content):
            raise ValueError(f"a {name} image, which cannot be read; save it as PNG or JPEG")
    raise ValueError(f"not a {known_formats()} image" if content else "empty")


def _png(content: bytes) -> ImageHeader:
    width, height, _, colour = struct.unpack_from(">II2B", content, 16)
    chunks = dict(_png_chunks(content))
    profile = None
    if b"iCCP" in chunks:
        packed = bytes(chunks[b"iCCP"]).partition(b"\0")[2][1:]
        try:
            profile = zlib.decompressobj().decompress(packed, MAX_PROFILE_BYTES)
        except zlib.error:
            profile = b""
    alpha = bool(colour & 4) or b"tRNS" in chunks
    return ImageHeader("PNG", width, height, alpha, "RGB" if colour & 3 else "grey", profile)


def _png_chunks(content: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Yield the kind and body of each chunk up to IEND, its checksum verified."""
    view, position, kind = memoryview(content), len(PNG_SIGNATURE), b""
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", content, position)
        end = position + 8 + length
        if struct.unpack_from(">I", content, end)[0] != zlib.crc32(view[position + 4 : end]):
            raise ValueError("corrupt: a checksum does not match")
        yield kind, view[position + 8 : end]
        position = end + 4


def _jpeg(content: bytes) -> ImageHeader:
    height, width, components = 0, 0, 3
    profile: list[tuple[int, bytes]] = []
    position = len(JPEG_START)
    while True:
        while content[position + 1] == 0xFF:  # fill bytes
            position += 1
        mark, marker, length = struct.unpack_from(">BBH", content, position)
        if mark != 0xFF:
            raise ValueError("corrupt: its header is damaged")
        if marker in JPEG_FRAMES and (height, width) == (0, 0):
            height, width, components = struct.unpack_from(">HHB", content, position + 5)
        if marker == JPEG_APP2 and content.startswith(ICC_MARK, position + 4):
            number = position + 4 + len(ICC_MARK)
            profile.append((content[number], content[number + 2 : position + 2 + length]))
        if marker == JPEG_SCAN:
            break
        position += 2 + length
    if content.rfind(JPEG_END, position) < 0:
        raise ValueError("truncated")
    joined = b"".join(part for _, part in sorted(profile)) if profile else None
    return ImageHeader("JPEG", width, height, colours=JPEG_COLOURS.get(components, "RGB"), profile=joined)


def _webp(content: bytes) -> ImageHeader:
    if len(content) < 8 + struct.unpack_from("<I", content, 4)[0]:
        raise ValueError("truncated")
    kind = content[12:16]
    if kind == b"VP8X":
        width = 1 + int.from_bytes(content[24:27], "little")
        height = 1 + int.from_bytes(content[27:30], "little")
        profile = _webp_profile(content) if content[20] & 0x20 else None
        return ImageHeader("WebP", width, height, alpha=bool(content[20] & 0x10), profile=profile)
    if kind == b"VP8L":
        bits = struct.unpack_from("<I", content, 21)[0]
        return ImageHeader("WebP", 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF), alpha=bool(bits >> 28 & 1))
    width, height = struct.unpack_from("<HH", content, 26)
    return ImageHeader("WebP", width & 0x3FFF, height & 0x3FFF)


def _webp_profile(content: bytes) -> bytes:
    """Return the profile, which stands right behind the extended header; empty where it does not."""
    position = 20 + struct.unpack_from("<I", content, 16)[0]
    kind, length = struct.unpack_from("<4sI", content, position)
    return content[position + 8 : position + 8 + length] if kind == b"ICCP" else b""


def _bmp(content: bytes) -> ImageHeader:
    header_size = struct.unpack_from("<I", content, 14)[0]
    core = header_size == 12
    width, height = struct.unpack_from("<HH" if core else "<ii", content, 18)
    depth = int.from_bytes(content[24:26] if core else content[28:30], "little")
    return ImageHeader("BMP", width, abs(height), coarse=depth == 16)


def _tiff(content: bytes) -> ImageHeader:
    tiff = read_tiff_header(content)
    # A tile is decoded whole, even where the picture is smaller.
    width, height = max((tiff.width, tiff.height), tiff.tile, key=lambda size: size[0] * size[1])
    if tiff.width < 1 or tiff.height < 1:
        width = height = 0
    return ImageHeader("TIFF", width, height, tiff.alpha, tiff.colours, tiff.profile, orientation=tiff.orientation)


def _gif(content: bytes) -> ImageHeader:
    """Read the logical screen and the first picture, which may be larger."""
    width, height, flags = struct.unpack_from("<HHB", content, 6)
    position = 13 + _palette_bytes(flags)
    while content[position] == 0x21:  # extensions: blocks up to an empty one
        position += 2
        while content[position]:
            position += 1 + content[position]
        position += 1
    if content[position] != 0x2C:
        raise ValueError("corrupt: no picture in it")
    left, top, w, h, flags = struct.unpack_from("<HHHHB", content, position + 1)
    position += 11 + _palette_bytes(flags)
    while content[position]:  # the picture is whole where its last block, an empty one, is there
        position += 1 + content[position]
    return ImageHeader("GIF", max(width, left + w), max(height, top + h))


def _palette_bytes(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _avif(content: bytes) -> ImageHeader:
    """Read the sizes in the index, of the picture, its parts and its alpha; return the largest."""
    position = 0
    while content[position + 4 : position + 8] != b"meta":
        length = struct.unpack_from(">I", content, position)[0]
        if length < 8:
            raise ValueError("corrupt: its header is damaged")
        position += length
    index = content[position : position + struct.unpack_from(">I", content, position)[0]]
    sizes = [struct.unpack_from(">II", index, found.end() + 4) for found in re.finditer(b"ispe", index)]
    width, height = max(sizes, key=lambda size: size[0] * size[1], default=(0, 0))
    return ImageHeader("AVIF", width, height)


_FORMATS: dict[str, tuple[re.Pattern[bytes], Callable[[bytes], ImageHeader]]] = {
    "PNG": (re.compile(re.escape(PNG_SIGNATURE)), _png),
    "JPEG": (re.compile(JPEG_START), _jpeg),
    "WebP": (re.compile(rb"RIFF.{4}WEBP", re.DOTALL), _webp),
    "BMP": (re.compile(b"BM"), _bmp),
    "TIFF": (re.compile(rb"II[*+]\0|MM\0[*+]"), _tiff),
    "GIF": (re.compile(b"GIF8[79]a"), _gif),
    "AVIF": (re.compile(rb".{4}ftyp(?:.{4}){0,12}?avi[fs]", re.DOTALL), _avif),
}
_UNREADABLE = {
    "HEIC": re.compile(rb".{4}ftyp(hei|hev|mif1|msf1)", re.DOTALL),
    "JPEG 2000": re.compile(rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51"),
    "JPEG XL": re.compile(rb"\0\0\0\x0cJXL |\xff\x0a"),
}
