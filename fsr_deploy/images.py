"""Frames from files and back: uint8 RGB arrays, and nothing half-read or half-written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fsr_deploy.errors import InputError
from fsr_deploy.files import read_file, write_file
from fsr_deploy.imageheader import read_header

RGB = NDArray[np.uint8]

MAX_PIXELS = 1 << 27
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

# A damaged file is reported by the error raised here, with its name; OpenCV's own lines have none.
_set_log_level: Any = getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel  # moved in OpenCV 5
_set_log_level(0)


@dataclass(frozen=True)
class Frame:
    """A decoded image: ``pixels`` is (H, W, 3) uint8 RGB; ``had_alpha`` tells that transparency was dropped."""

    pixels: RGB
    had_alpha: bool


def read_frame(path: str | Path) -> RGB:
    """Read a PNG, JPEG, WebP, BMP or TIFF file as (H, W, 3) uint8 RGB; see ``decode_frame``."""
    return decode_frame(read_file(Path(path)), path).pixels


def decode_frame(content: bytes, name: str | Path) -> Frame:
    """Decode the content of an image file to uint8 RGB.

    16-bit samples are rounded to 8, grey becomes three equal channels, palettes and CMYK become RGB, transparency is
    dropped (an 8-bit TIFF is laid on black first), the EXIF orientation is applied (that of WebP from OpenCV 4.13 on),
    and the first picture of several is taken. Raises InputError that calls the file ``name`` where it is empty, no
    image, corrupt, truncated, or larger than MAX_PIXELS, which is checked before decoding. Flipped bits in the pixels
    of a whole JPEG, BMP or TIFF cannot be told from a picture.
    """
    try:
        header = read_header(content)
    except ValueError as error:
        raise InputError(f"{name}: {error}") from None
    if header.width * header.height > MAX_PIXELS:
        raise InputError(f"{name}: {header.width}x{header.height} pixels, over the limit of {MAX_PIXELS}")
    pixels = _imdecode(content)
    if pixels is None:
        raise InputError(f"{name}: a corrupt or unsupported {header.format} file")
    if pixels.dtype == np.uint16:
        pixels = cv2.convertScaleAbs(pixels, alpha=1 / 257)
    if pixels.dtype != np.uint8:
        raise InputError(f"{name}: samples of type {pixels.dtype}; save it with 8 or 16 bits per channel")
    return Frame(np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8), header.alpha)


def _imdecode(content: bytes) -> NDArray[Any] | None:
    """Return (H, W, 3) BGR of any depth, None where OpenCV cannot decode it."""
    try:
        return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    except cv2.error:
        return None


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
