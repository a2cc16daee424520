"""From a picture's colour profile to sRGB, which networks are trained on."""

from __future__ import annotations

import io
from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fsr_deploy.images.header import MAX_PROFILE_BYTES

if TYPE_CHECKING:
    from PIL.Image import Image

# A profile that changes no colour by more than this is sRGB under some name, as most are.
SAME_LEVELS = 1
BLOCK_PIXELS = 1 << 20
MODES = {b"GRAY": "L", b"RGB ": "RGB", b"CMYK": "CMYK"}  # a profile's colour space -> Pillow's mode


class ColourChange(Enum):
    """What was done to a picture's colours on reading, as part of a sentence."""

    ALPHA_DROPPED = "transparency was dropped"
    PROFILE_CONVERTED = "the colour profile was converted to sRGB"
    PROFILE_IGNORED = "the colour profile could not be used, so that colours may be off"


def to_srgb(pixels: NDArray[np.uint8], grey: bool, profile: bytes) -> ColourChange | None:
    """Convert (H, W, 3) uint8 RGB pixels from the colours of an ICC profile to sRGB, in place.

    ``grey`` says that the three channels are equal. Returns what was done, None where the profile is sRGB's.
    """
    from fsr_deploy.images.pillow import Image

    try:
        # Grey pictures with a profile for RGB exist, and mean equal channels.
        mode = _mode(profile, ("L", "RGB") if grey else ("RGB",))
        transform = _transform(profile, mode)
    except ValueError:
        return ColourChange.PROFILE_IGNORED
    if transform is None:
        return None
    # Block by block, so that a large picture does not take three times its memory.
    rows = max(1, BLOCK_PIXELS // pixels.shape[1])
    for top in range(0, len(pixels), rows):
        block = pixels[top : top + rows]
        picture = Image.fromarray(np.ascontiguousarray(block[..., 0] if mode == "L" else block))
        block[:] = np.asarray(transform.apply(picture))
    return ColourChange.PROFILE_CONVERTED


def cmyk_to_rgb(picture: Image, profile: bytes) -> tuple[Image, ColourChange]:
    """Return a CMYK picture in sRGB, by its profile where that can be used, and what was done."""
    try:
        transform = _transform(profile, _mode(profile, ("CMYK",)))
    except ValueError:
        return picture.convert("RGB"), ColourChange.PROFILE_IGNORED
    return transform.apply(picture), ColourChange.PROFILE_CONVERTED


def lab_to_rgb(picture: Image) -> Image:
    """Return a CIELAB picture in sRGB."""
    return _lab_transform().apply(picture)


def _mode(profile: bytes, wanted: tuple[str, ...]) -> str:
    """Return the mode of the pictures that a profile is for; raises ValueError where that is none of those wanted."""
    mode = MODES.get(profile[16:20], "")
    if len(profile) >= MAX_PROFILE_BYTES or mode not in wanted:
        raise ValueError("a profile for another kind of picture")
    return mode


@lru_cache(maxsize=16)
def _transform(profile: bytes, mode: str) -> Any:
    """Return the transform from a mode to sRGB, None where none is needed; raises ValueError for a broken profile.

    Any number of threads may use it at once.
    """
    from fsr_deploy.images.pillow import Image, ImageCms

    try:
        transform = _build(ImageCms.getOpenProfile(io.BytesIO(profile)), mode)
    except (ImageCms.PyCMSError, OSError) as error:
        raise ValueError("a broken profile") from error
    if mode == "CMYK":
        return transform
    sample = _samples(mode)
    same = sample if mode == "RGB" else np.stack([sample] * 3, -1)
    moved = np.asarray(transform.apply(Image.fromarray(sample)), np.int16) - same
    return None if np.abs(moved).max() <= SAME_LEVELS else transform


@lru_cache(maxsize=1)
def _lab_transform() -> Any:
    from fsr_deploy.images.pillow import ImageCms

    return _build(ImageCms.createProfile("LAB"), "LAB")


def _build(profile: Any, mode: str) -> Any:
    from fsr_deploy.images.pillow import ImageCms

    # Perceptual, as viewers do; for the profiles of displays that is the same as relative colorimetric.
    # Without its cache of the last colour, littleCMS shares nothing between threads.
    to = ImageCms.createProfile("sRGB")
    return ImageCms.buildTransform(profile, to, mode, "RGB", ImageCms.Intent.PERCEPTUAL, ImageCms.Flags.NOCACHE)


def _samples(mode: str) -> NDArray[np.uint8]:
    """Return a picture of sample colours of a mode: (1, 256) of greys, (1, 729, 3) of RGB."""
    if mode == "L":
        return np.arange(256, dtype=np.uint8)[None]
    steps = np.linspace(0, 255, 9).round().astype(np.uint8)
    return np.stack(np.meshgrid(steps, steps, steps), -1).reshape(1, -1, 3)
