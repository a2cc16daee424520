"""Colour profiles, judged by what littleCMS makes of the same file in Pillow's hands."""

import io
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms

from fsr_deploy.images.codec import decode_frame
from fsr_deploy.images.colour import ColourChange
from tests.profiles import ADOBE, P3, PROPHOTO, cmyk_profile, grey_profile, rgb_profile

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
PROFILES = {"P3": rgb_profile(P3, 2.2), "Adobe RGB": rgb_profile(ADOBE, 2.2), "ProPhoto": rgb_profile(PROPHOTO, 1.8)}
LOSSLESS = {"PNG": {}, "WEBP": {"lossless": True}, "TIFF": {}}


def face(side: int = 32) -> Image.Image:
    """A picture with skin, lips, hair and neutral greys."""
    y, x = np.mgrid[:side, :side] / side
    return Image.fromarray(np.stack((90 + 150 * x, 60 + 130 * x * (1 - y / 3), 40 + 120 * y), -1).astype(np.uint8))


def stored(profile: bytes, mode: str = "RGB") -> Image.Image:
    """Return the face in the numbers of a profile."""
    return ImageCms.profileToProfile(face(), SRGB, opened(profile), outputMode=mode)


def opened(profile: bytes) -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(io.BytesIO(profile))


def encode(picture: Image.Image, kind: str, **options) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def by_littlecms(content: bytes, profile: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as picture:
        return np.asarray(ImageCms.profileToProfile(picture, opened(profile), SRGB, outputMode="RGB"), np.int16)


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
@pytest.mark.parametrize(("kind", "options"), LOSSLESS.items())
def test_a_profile_is_converted_to_srgb(kind: str, options: dict, profile: bytes):
    frame = decode_frame(encode(stored(profile), kind, icc_profile=profile, **options), "face")
    assert frame.changes == {ColourChange.PROFILE_CONVERTED}
    # The face itself, as far as 8 bits in the profile's numbers keep it.
    assert np.abs(frame.pixels - np.asarray(face(), np.int16)).max() <= 3


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
@pytest.mark.parametrize("kind", ["JPEG", *(["AVIF"] if find_spec("PIL.AvifImagePlugin") else [])])
def test_a_profile_of_a_lossy_file_is_converted_as_littlecms_does(kind: str, profile: bytes):
    content = encode(stored(profile), kind, quality=95, icc_profile=profile)
    frame = decode_frame(content, "face")
    assert frame.changes == {ColourChange.PROFILE_CONVERTED}
    assert np.abs(frame.pixels - by_littlecms(content, profile)).max() <= 1


def test_a_profile_that_spans_the_segments_of_a_jpeg_is_put_together():
    profile = PROFILES["ProPhoto"]
    long = profile + bytes(150_000)  # what follows the tags is no tag's
    long = len(long).to_bytes(4, "big") + long[4:]
    content = encode(stored(profile), "JPEG", quality=95, icc_profile=long)
    assert np.abs(decode_frame(content, "face").pixels - by_littlecms(content, profile)).max() <= 1


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
def test_grey_values_are_converted_by_a_profile_for_grey(kind: str):
    profile = grey_profile(1.0)
    content = encode(face().convert("L"), kind, icc_profile=profile)
    frame = decode_frame(content, "face")
    assert frame.changes == {ColourChange.PROFILE_CONVERTED}
    assert np.abs(frame.pixels - by_littlecms(content, profile)).max() <= 1
    assert np.abs(frame.pixels - np.asarray(face().convert("L"), np.int16)[..., None]).mean() > 20


def test_grey_values_with_a_profile_for_rgb_are_equal_channels():
    profile = PROFILES["ProPhoto"]
    grey = Image.merge("RGB", [face().convert("L")] * 3)
    frame = decode_frame(encode(face().convert("L"), "JPEG", quality=100, icc_profile=profile), "face")
    assert np.abs(frame.pixels - by_littlecms(encode(grey, "PNG"), profile)).max() <= 3


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_inks_are_converted_by_their_profile(kind: str):
    profile = cmyk_profile()
    content = encode(face().convert("CMYK"), kind, icc_profile=profile)
    frame = decode_frame(content, "face")
    assert frame.changes == {ColourChange.PROFILE_CONVERTED}
    assert np.abs(frame.pixels - by_littlecms(content, profile)).max() <= 1
    assert np.abs(frame.pixels - np.asarray(face(), np.int16)).mean() > 5


def test_sixteen_bits_have_a_profile_too():
    profile = PROFILES["P3"]
    deep = np.asarray(stored(profile)).astype(np.uint16)[..., ::-1] * 257
    content = cv2.imencode(".png", deep)[1].tobytes()
    chunk = b"iCCP" + b"name\0\0" + zlib.compress(profile)
    chunk = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    frame = decode_frame(content[:33] + chunk + content[33:], "face")  # behind the header
    assert frame.changes == {ColourChange.PROFILE_CONVERTED}
    assert np.abs(frame.pixels - np.asarray(face(), np.int16)).max() <= 3


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_an_srgb_profile_changes_nothing_and_is_not_told(kind: str):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    with_it, without = (decode_frame(encode(face(), kind, **o), "face") for o in ({"icc_profile": profile}, {}))
    assert with_it.changes == frozenset()
    np.testing.assert_array_equal(with_it.pixels, without.pixels)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize(
    "profile",
    [b"no profile at all, but long enough to hold the name of a colour space", grey_profile(1.8), cmyk_profile(), b"x"],
    ids=["garbage", "for grey", "for inks", "short"],
)
def test_a_profile_that_cannot_be_used_is_ignored_and_told(kind: str, profile: bytes):
    frame = decode_frame(encode(face(), kind, icc_profile=profile, **LOSSLESS.get(kind, {})), "face")
    assert frame.changes == {ColourChange.PROFILE_IGNORED}
    assert np.abs(frame.pixels - np.asarray(face(), np.int16)).mean() < 3


def test_a_profile_cut_off_is_ignored_and_told():
    frame = decode_frame(encode(face(), "PNG", icc_profile=PROFILES["P3"][:300]), "face")
    assert frame.changes == {ColourChange.PROFILE_IGNORED}


def test_a_large_picture_is_converted_block_by_block_alike(monkeypatch: pytest.MonkeyPatch):
    profile = PROFILES["Adobe RGB"]
    content = encode(stored(profile), "PNG", icc_profile=profile)
    whole = decode_frame(content, "face").pixels
    monkeypatch.setattr("fsr_deploy.images.colour.BLOCK_PIXELS", 100)
    np.testing.assert_array_equal(decode_frame(content, "face").pixels, whole)


def test_threads_convert_side_by_side_without_mixing_their_colours():
    contents = [encode(stored(p).resize((64, 64)), "PNG", icc_profile=p) for p in PROFILES.values()] * 20
    alone = [decode_frame(content, "face").pixels for content in contents]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda content: decode_frame(content, "face").pixels, contents))
    np.testing.assert_array_equal(together, alone)


def test_cielab_is_read_as_littlecms_reads_it():
    lab = ImageCms.profileToProfile(face(), SRGB, ImageCms.createProfile("LAB"), outputMode="LAB")
    content = encode(lab, "TIFF")
    frame = decode_frame(content, "face")
    back = ImageCms.profileToProfile(lab, ImageCms.createProfile("LAB"), SRGB, outputMode="RGB")
    assert np.abs(frame.pixels - np.asarray(back, np.int16)).max() <= 1
    assert np.abs(frame.pixels - np.asarray(face(), np.int16)).mean() < 3
