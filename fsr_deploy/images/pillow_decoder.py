"""The pictures that Pillow reads and OpenCV does not, or not rightly."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray

from fsr_deploy.images.colour import Change, cmyk_to_rgb, lab_to_rgb, to_srgb
from fsr_deploy.images.header import ImageHeader


class MissingCodec(Exception):
    """This Pillow has no decoder for the format; the message says which has."""


def wants_pillow(header: ImageHeader) -> bool:
    """Tell whether Pillow reads such a picture better than OpenCV.

    OpenCV reads GIF and AVIF from some versions on only and does not turn AVIF upright, is off by dozens of levels for
    CIELAB, makes 248 of the brightest of five bits, and turns CMYK into RGB before its profile could be asked.
    """
    by_profile = header.colours == "CMYK" and header.profile is not None
    return header.format in ("GIF", "AVIF") or header.colours == "Lab" or header.coarse or by_profile


def read_by_pillow(content: bytes, header: ImageHeader, upright: bool = True) -> tuple[NDArray[np.uint8], set[Change]]:
    """Decode a picture that ``wants_pillow`` to (H, W, 3) uint8 RGB in sRGB, and return what was done for that.

    ``upright`` applies its EXIF orientation; that of TIFF is applied in any case. Raises MissingCodec, and whatever
    Pillow raises for a damaged file.
    """
    from fsr_deploy.images.pillow import Image, ImageOps

    if header.format == "AVIF" and not _has_avif():
        raise MissingCodec(f"AVIF needs Pillow 11.3 or newer, this is {Image.__version__}: pip install -U pillow")
    changes: set[Change | None] = set()
    with Image.open(io.BytesIO(content), formats=[header.format]) as opened:
        if opened.width * opened.height > header.width * header.height:
            raise ValueError("larger than its header says")
        if opened.has_transparency_data:
            changes.add(Change.ALPHA_DROPPED)
        profile = opened.info.get("icc_profile")
        opened.load()
        picture: Image.Image = opened
        if upright or header.format == "TIFF":
            picture = ImageOps.exif_transpose(opened) or opened
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
