"""Frames from files and back, as uint8 RGB arrays; nothing is read or written by half."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fsr_deploy._util.files import read_file, write_file
from fsr_deploy.errors import InputError
from fsr_deploy.images.colour import ColourChange, to_srgb
from fsr_deploy.images.header import ImageHeader, read_header
from fsr_deploy.images.opencv import MAX_PIXELS, cv2
from fsr_deploy.images.pillow_decoder import MissingCodec, read_by_pillow, wants_pillow

RGB = NDArray[np.uint8]

MAX_FILE_BYTES = 1 << 30
JPEG_QUALITY = 95
# 4:4:4 because chroma at half resolution smears lips and eyes, which are a few pixels wide in a face.
_JPEG = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
_PNG = [cv2.IMWRITE_PNG_COMPRESSION, 1]
_WEBP = [cv2.IMWRITE_WEBP_QUALITY, JPEG_QUALITY]
_ENCODING: dict[str, list[int]] = {
    ".png": _PNG,
    ".jpg": _JPEG,
    ".jpeg": _JPEG,
    ".webp": _WEBP,
    ".bmp": [],
    ".tif": [],
    ".tiff": [],
}
SUFFIXES = tuple(_ENCODING)

BLOCK_ROWS = 256
# How to undo each EXIF orientation.
_AS_STORED: dict[int, Callable[[NDArray[Any]], NDArray[Any]]] = {
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: np.rot90(pixels),
    7: lambda pixels: np.rot90(pixels, 2).swapaxes(0, 1),
    8: lambda pixels: np.rot90(pixels, -1),
}


@dataclass(frozen=True)
class Frame:
    """A decoded image: ``pixels`` is (H, W, 3) uint8 RGB; ``changes`` lists what was done to its colours."""

    pixels: RGB
    changes: frozenset[ColourChange] = frozenset()


def read_frame(path: str | Path, upright: bool = True) -> RGB:
    """Read an image file as (H, W, 3) uint8 RGB; see ``decode_frame``."""
    return decode_frame(read_picture(Path(path)), path, upright).pixels


def read_picture(path: str | Path, size: int | None = None) -> bytes:
    """Return the content of an image file; raises InputError where it cannot be read or is over MAX_FILE_BYTES.
    ``size`` is that of ``file_bytes``, where it is known.
    """
    if (file_bytes(path) if size is None else size) > MAX_FILE_BYTES:
        raise InputError(f"{path}: larger than {MAX_FILE_BYTES >> 20} MiB")
    return read_file(path)


def file_bytes(path: str | Path) -> int:
    """Return a file's size in bytes, 0 if it cannot be determined; reading the file then raises the reason."""
    try:
        return os.stat(path).st_size  # noqa: PTH116 - a name need not become a Path for this
    except (OSError, ValueError):
        return 0


def frame_header(content: bytes, name: str | Path) -> ImageHeader:
    """Return what an image file says about itself.

    Raises InputError that calls the file ``name`` where it is empty, no image, cut off, or larger than MAX_PIXELS.
    """
    try:
        header = read_header(content)
    except ValueError as error:
        raise InputError(f"{name}: {error}") from None
    if header.width * header.height > MAX_PIXELS:
        raise InputError(f"{name}: {header.width}x{header.height} pixels, over the limit of {MAX_PIXELS}")
    return header


def decoding_bytes(header: ImageHeader) -> int:
    """Return how many bytes a picture takes at most while it is decoded and resized, its file aside.

    Measured per pixel: OpenCV 7 to 12, the most for 16 bits; Pillow 12 to 17, the most for AVIF.
    """
    return (17 if wants_pillow(header) else 12) * header.width * header.height


def decode_frame(content: bytes, name: str | Path, upright: bool = True, header: ImageHeader | None = None) -> Frame:
    """Decode the content of an image file to uint8 RGB in sRGB.

    16-bit samples are rounded to 8, grey becomes three equal channels, palettes, CMYK and CIELAB become RGB, a colour
    profile is converted to sRGB, transparency is dropped (an 8-bit TIFF is laid on black first), and the first picture
    of several is taken. The EXIF orientation is applied (that of WebP from OpenCV 4.13 on) unless ``upright`` is False:
    then pixels lie as they are stored. ``header`` is frame_header's, where it is known.

    Raises InputError that calls the file ``name`` where frame_header does or its pixels are corrupt or truncated.
    Flipped bits in the pixels of a complete JPEG, BMP, TIFF or lossy WebP cannot be detected.
    """
    header = header or frame_header(content, name)
    pixels, changes = _decode(content, name, header, upright)
    if pixels is None:
        hint = "; save it as RGB, not CIELAB" if header.colours == "Lab" else ""
        raise InputError(f"{name}: a corrupt or unsupported {header.format} file{hint}")
    if pixels.dtype != np.uint8:
        raise InputError(f"{name}: samples of type {pixels.dtype}; save it with 8 or 16 bits per channel")
    if header.alpha:
        changes.add(ColourChange.ALPHA_DROPPED)
    if not upright and header.orientation in _AS_STORED:
        pixels = np.ascontiguousarray(_AS_STORED[header.orientation](pixels))
    return Frame(pixels, frozenset(changes))


def _decode(
    content: bytes, name: str | Path, header: ImageHeader, upright: bool
) -> tuple[NDArray[Any] | None, set[ColourChange]]:
    """Return (H, W, 3) RGB in sRGB and what was done for that; None for pixels that cannot be decoded."""
    if wants_pillow(header):
        try:
            return read_by_pillow(content, header, upright)
        except MissingCodec as error:
            raise InputError(f"{name}: {error}") from None
        except Exception:  # decoders raise anything for a damaged file
            return None, set()
    pixels = _imdecode(content, upright)
    if pixels is None:
        return None, set()
    if pixels.dtype == np.uint16:
        pixels = cv2.convertScaleAbs(pixels, alpha=1 / 257)
    if pixels.dtype != np.uint8 or header.profile is None:
        return pixels, set()
    change = to_srgb(np.asarray(pixels, np.uint8), header.colours == "grey", header.profile)
    return pixels, {change} if change else set()


def _imdecode(content: bytes, upright: bool = True) -> NDArray[Any] | None:
    """Return (H, W, 3) RGB of 8 or 16 bits, pixels of another type as they are, None where OpenCV cannot decode it."""
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH | (0 if upright else cv2.IMREAD_IGNORE_ORIENTATION)
    try:
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    except cv2.error:
        return None
    if pixels is None or pixels.dtype not in (np.uint8, np.uint16):
        return pixels  # the caller refuses other types, which cvtColor knows in part only
    # In place, some rows at a time: a copy of a large picture would double the memory.
    for top in range(0, len(pixels), BLOCK_ROWS):
        rows = pixels[top : top + BLOCK_ROWS]
        rows[:] = cv2.cvtColor(rows, cv2.COLOR_BGR2RGB)
    return pixels


def encode_frame(pixels: RGB, suffix: str) -> bytes:
    """Encode (H, W, 3) uint8 RGB as the format of a suffix such as ".png"; raises InputError where that fails.

    PNG at level 1, JPEG and WebP at quality 95, JPEG without chroma subsampling.
    """
    if suffix.lower() not in _ENCODING:
        raise InputError(f"{suffix or 'no suffix'}: not a format that can be written; use one of {', '.join(SUFFIXES)}")
    try:
        done, data = cv2.imencode(suffix.lower(), cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), _ENCODING[suffix.lower()])
    except cv2.error:
        done = False
    if not done:
        height, width = pixels.shape[:2]
        raise InputError(f"{width}x{height} pixels cannot be written as {suffix}; choose another format")
    return data.tobytes()


def write_frame(path: str | Path, pixels: RGB) -> None:
    """Write (H, W, 3) uint8 RGB in the format of the path's suffix, whole or not at all."""
    path = Path(path)
    write_file(path, encode_frame(pixels, path.suffix))
