"""The pictures that Pillow reads and OpenCV does not, or reads wrongly."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fsr_deploy.images.colour import ColourChange, cmyk_to_rgb, lab_to_rgb, to_srgb
from fsr_deploy.images.header import ImageHeader

if TYPE_CHECKING:
    from PIL.Image import Image


class MissingCodec(Exception):
    """This Pillow has no decoder for the format; the message names a version that has."""


def wants_pillow(header: ImageHeader) -> bool:
    """Tell whether Pillow reads such a picture better than OpenCV.

    Only newer OpenCV versions read GIF and AVIF, and they do not rotate AVIF upright. OpenCV is off by dozens of levels
    for CIELAB, maps the brightest value of five bits to 248, and converts CMYK to RGB without its profile.
    """
    by_profile = header.colours == "CMYK" and header.profile is not None
    return header.format in ("GIF", "AVIF") or header.colours == "Lab" or header.coarse or by_profile


def read_by_pillow(
    content: bytes, header: ImageHeader, upright: bool = True
) -> tuple[NDArray[np.uint8], set[ColourChange]]:
    """Decode a picture that ``wants_pillow`` to (H, W, 3) uint8 RGB in sRGB, and return what was done for that.

    ``upright`` applies its EXIF orientation; that of TIFF is applied in any case. Raises MissingCodec, and whatever
    Pillow raises for a damaged file.
    """
    from fsr_deploy.images.pillow import Image

    if header.format == "AVIF" and not _has_avif():
        raise MissingCodec(f"AVIF needs Pillow 11.3 or newer, this is {Image.__version__}: pip install -U pillow")
    with Image.open(io.BytesIO(content), formats=[header.format]) as opened:
        if opened.width * opened.height > header.width * header.height:
            raise ValueError("larger than its header says")
        return to_pixels(opened, upright or header.format == "TIFF")


def from_pillow(picture: Image) -> NDArray[np.uint8]:
    """Return a PIL image of any mode as (H, W, 3) uint8 RGB in sRGB, upright; its transparency is dropped."""
    return to_pixels(picture)[0]


def to_pixels(opened: Image, upright: bool = True) -> tuple[NDArray[np.uint8], set[ColourChange]]:
    """Return a PIL image as (H, W, 3) uint8 RGB in sRGB, and what was done for that.

    ``upright`` applies its EXIF orientation; samples of 16 bits are rounded to 8.
    """
    from fsr_deploy.images.pillow import ImageOps

    changes: set[ColourChange | None] = {ColourChange.ALPHA_DROPPED} if opened.has_transparency_data else set()
    profile = opened.info.get("icc_profile")
    opened.load()
    picture = ImageOps.exif_transpose(opened) if upright else opened
    if picture.mode.startswith("I;16"):
        grey = np.rint(np.asarray(picture) / 257).astype(np.uint8)
        return np.stack([grey] * 3, -1), set()
    if picture.mode == "LAB":
        picture, profile = lab_to_rgb(picture), None
    elif picture.mode == "CMYK" and profile:
        picture, change = cmyk_to_rgb(picture, profile)
        changes.add(change)
        profile = None
    pixels = np.asarray(picture if picture.mode == "RGB" else picture.convert("RGB"))
    if profile:
        pixels = pixels.copy()
        changes.add(to_srgb(pixels, False, profile))
    return pixels, {change for change in changes if change}


def _has_avif() -> bool:
    try:
        from PIL import AvifImagePlugin
    except ImportError:
        return False
    return bool(AvifImagePlugin.SUPPORTED)
