"""Files are made with Pillow, so that reading is judged by another library than the one that reads."""

import io
import re
import struct
import subprocess
import sys
import zlib
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from fsr_deploy.errors import InputError
from fsr_deploy.images import codec
from fsr_deploy.images.codec import decode_frame, read_file, read_frame, write_frame
from fsr_deploy.images.colour import ColourChange
from fsr_deploy.images.header import ImageHeader, read_header

FORMATS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".webp": "WEBP",
    ".bmp": "BMP",
    ".tif": "TIFF",
    ".gif": "GIF",
    **({".avif": "AVIF"} if find_spec("PIL.AvifImagePlugin") else {}),  # from Pillow 11.3 on
}
AVIF = [suffix for suffix in FORMATS if suffix == ".avif"]
LOSSLESS = {".png": {}, ".bmp": {}, ".tif": {}, ".webp": {"lossless": True}}


def gradient(height: int = 24, width: int = 40) -> np.ndarray:
    """A smooth picture with three different channels that survives JPEG."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 6, 255 - y * 8, x + y * 3], axis=-1).astype(np.uint8)


def encode(picture: Image.Image | np.ndarray, suffix: str, **options) -> bytes:
    stream = io.BytesIO()
    picture = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    picture.save(stream, FORMATS[suffix], **options)
    return stream.getvalue()


@pytest.mark.parametrize(("suffix", "options"), LOSSLESS.items())
def test_a_lossless_file_is_read_as_rgb_exactly(tmp_path: Path, suffix: str, options: dict):
    path = tmp_path / f"face{suffix}"
    path.write_bytes(encode(gradient(), suffix, **options))
    np.testing.assert_array_equal(read_frame(path), gradient())


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_is_read_as_pillow_reads_it(mode: str, progressive: bool):
    content = encode(Image.fromarray(gradient()).convert(mode), ".jpg", quality=95, progressive=progressive)
    expected = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"), np.int16)
    assert np.abs(decode_frame(content, "f").pixels - expected).max() <= 3


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif"])
@pytest.mark.parametrize("mode", ["L", "P", "1"])
def test_grey_and_palette_become_three_channels(suffix: str, mode: str):
    content = encode(Image.fromarray(gradient()).convert(mode), suffix)
    frame = decode_frame(content, "f")
    np.testing.assert_array_equal(frame.pixels, np.asarray(Image.open(io.BytesIO(content)).convert("RGB")))
    assert ColourChange.ALPHA_DROPPED not in frame.changes


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("channels", [1, 3])
def test_sixteen_bits_are_rounded_to_eight(suffix: str, channels: int):
    deep = np.random.default_rng(0).integers(0, 65536, (9, 11, channels), np.uint16)
    content = cv2.imencode(suffix, deep)[1].tobytes()
    expected = np.round(deep[:, :, ::-1] / 257).astype(np.uint8) * np.ones(3, np.uint8)
    np.testing.assert_array_equal(decode_frame(content, "f").pixels, expected)


@pytest.mark.parametrize(
    ("suffix", "mode", "options"),
    [
        (".png", "RGBA", {}),
        (".png", "LA", {}),
        (".png", "P", {"transparency": 3}),
        (".webp", "RGBA", {"lossless": True, "exact": True}),
    ],
)
def test_transparency_is_dropped_and_told(suffix: str, mode: str, options: dict):
    picture = Image.fromarray(gradient()).convert(mode)
    if "A" in mode:
        picture.putalpha(100)
    frame = decode_frame(encode(picture, suffix, **options), "f")
    assert ColourChange.ALPHA_DROPPED in frame.changes
    np.testing.assert_array_equal(frame.pixels, np.asarray(picture.convert("RGB")))


@pytest.mark.parametrize(("suffix", "mode"), [(".tif", "RGBA"), (".tif", "LA"), (".webp", "RGBA")])
def test_transparency_is_told_in_every_format(suffix: str, mode: str):
    picture = Image.fromarray(gradient()).convert(mode)
    picture.putalpha(100)
    assert ColourChange.ALPHA_DROPPED in decode_frame(encode(picture, suffix), "f").changes


def test_an_eight_bit_tiff_is_laid_on_black():
    picture = Image.fromarray(gradient()).convert("RGBA")
    picture.putalpha(51)
    pixels = decode_frame(encode(picture, ".tif"), "f").pixels
    assert np.abs(pixels - gradient() / 5).max() <= 1


def test_five_bits_a_colour_reach_from_black_to_white():
    levels = np.arange(32, dtype="<u2").repeat(3).reshape(1, 32, 3)
    packed = (levels[..., 0] << 10 | levels[..., 1] << 5 | levels[..., 2]).astype("<u2").tobytes()
    head = struct.pack("<IiiHHIIiiII", 40, 32, 1, 1, 16, 0, len(packed), 2835, 2835, 0, 0)
    content = b"BM" + struct.pack("<IHHI", 54 + len(packed), 0, 0, 54) + head + packed
    assert np.abs(decode_frame(content, "f").pixels - levels * 255 / 31).max() <= 1


@pytest.mark.parametrize("suffix", [".gif", *AVIF])
def test_the_first_picture_of_an_animation_is_read(suffix: str):
    first = Image.fromarray(gradient()).quantize(64)
    content = encode(first.convert("RGB"), suffix, save_all=True, append_images=[Image.new("RGB", first.size)])
    expected = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"), np.int16)
    frame = decode_frame(content, "f")
    assert np.abs(frame.pixels - expected).max() <= 1
    assert np.abs(frame.pixels - np.asarray(first.convert("RGB"), np.int16)).mean() < 8
    assert not frame.changes


@pytest.mark.parametrize("suffix", [".gif", *AVIF])
def test_transparency_of_gif_and_avif_is_told(suffix: str):
    picture = Image.fromarray(gradient()).convert("RGBA")
    picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    assert decode_frame(encode(picture, suffix), "f").changes == {ColourChange.ALPHA_DROPPED}


def test_an_avif_is_named_where_pillow_cannot_read_it(monkeypatch: pytest.MonkeyPatch):
    content = BOMBS["AVIF"].replace(struct.pack(">I", 40000), struct.pack(">I", 40))
    if AVIF:
        monkeypatch.setattr("PIL.AvifImagePlugin.SUPPORTED", False)
    with pytest.raises(InputError, match=r"^f: AVIF needs Pillow 11\.3 or newer, this is .*: pip install -U pillow$"):
        decode_frame(content, "f")


@pytest.mark.parametrize("suffix", list(FORMATS))
def test_a_file_without_transparency_tells_none(suffix: str):
    assert not decode_frame(encode(gradient(), suffix), "f").changes


OPENCV = tuple(int(part) for part in cv2.__version__.split(".")[:2])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    "suffix",
    [
        ".jpg",
        ".png",
        ".tif",
        *AVIF,
        pytest.param(".webp", marks=pytest.mark.skipif(OPENCV < (4, 13), reason="OpenCV leaves WebP as it is")),
    ],
)
def test_the_exif_orientation_is_applied(suffix: str, orientation: int):
    exif = Image.Exif()
    exif[274] = orientation
    content = encode(gradient(), suffix, exif=exif.tobytes())
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(content))).convert("RGB"), np.int16)
    pixels = decode_frame(content, "f").pixels
    assert pixels.shape == expected.shape
    assert np.abs(pixels - expected).max() <= 8
    as_stored = decode_frame(content, "f", upright=False).pixels
    assert as_stored.shape == (24, 40, 3)
    assert np.abs(as_stored - gradient().astype(np.int16)).mean() <= 4


def test_a_name_in_any_script_works(tmp_path: Path):
    path = tmp_path / "Gesicht ü 顔 🙂.png"
    write_frame(path, gradient())
    np.testing.assert_array_equal(read_frame(path), gradient())


@pytest.mark.parametrize("suffix", list(FORMATS))
@pytest.mark.parametrize("kept", [0.99, 0.6, 0.1])
def test_a_truncated_file_is_named(suffix: str, kept: float):
    content = encode(gradient(), suffix)
    with pytest.raises(InputError, match=r"^face: (truncated|a corrupt or unsupported \w+ file)$"):
        decode_frame(content[: int(len(content) * kept)], "face")


def test_a_jpeg_cut_after_its_thumbnail_is_named():
    thumbnail = encode(gradient(8, 8), ".jpg")
    exif = b"Exif\0\0" + thumbnail
    content = encode(gradient(), ".jpg", quality=95)
    content = content[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + content[2:]
    assert decode_frame(content, "face").pixels.shape == (24, 40, 3)
    with pytest.raises(InputError, match="face: truncated"):
        decode_frame(content[:-2], "face")


def test_a_flipped_bit_in_a_png_is_named():
    content = bytearray(encode(gradient(), ".png"))
    content[len(content) // 2] ^= 1
    with pytest.raises(InputError, match="face: corrupt: a checksum does not match"):
        decode_frame(bytes(content), "face")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"hello, world", "not a PNG, JPEG, WebP, BMP, TIFF, GIF or AVIF image"),
        (b"RIFF\x10\0\0\0AVI LIST" + bytes(20), "not a PNG, JPEG, WebP, BMP, TIFF, GIF or AVIF image"),
        (b"GIF89a" + bytes(30), "corrupt: no picture in it"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "a HEIC image, which cannot be read; save it as PNG or JPEG"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "a JPEG 2000 image, which cannot be read; save it as PNG or JPEG"),
        (b"\xff\x0a\xfa\x1f", "a JPEG XL image, which cannot be read; save it as PNG or JPEG"),
        (b"\xff\xd8", "truncated"),
        (b"\xff\xd8\xff\xe0\0\x04ab" + bytes(20), "corrupt: its header is damaged"),
        (b"BM" + bytes(60), "corrupt: its header gives no size"),
        (b"BM" + bytes(12) + struct.pack("<Iii", 40, 10, 10) + bytes(40), "a corrupt or unsupported BMP file"),
    ],
)
def test_what_is_no_image_is_named_with_the_reason(content: bytes, reason: str):
    with pytest.raises(InputError) as caught:
        decode_frame(content, "face")
    assert str(caught.value) == f"face: {reason}"


@pytest.mark.parametrize("kind", ["float32", "float64", "int8", "int16", "int32"])
def test_samples_of_other_types_are_refused(kind: str):
    """OpenCV decodes them all, and cannot convert all of them."""
    content = cv2.imencode(".tif", np.zeros((4, 4, 3), kind))[1].tobytes()
    with pytest.raises(InputError) as caught:
        decode_frame(content, "face")
    assert str(caught.value) == f"face: samples of type {kind}; save it with 8 or 16 bits per channel"


def png_bomb(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(10))) + chunk(b"IEND", b"")


def tiff(*tags: tuple[int, int, int], data: bytes = b"") -> bytes:
    """Return a TIFF file of numbers, each a (tag, type, value), with ``data`` behind the directory."""
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + entries + bytes(4) + data


def big_tiff(*tags: tuple[int, int, int], data: bytes = b"") -> bytes:
    """Return a BigTIFF file likewise."""
    entries = b"".join(struct.pack("<HHQQ", tag, kind, 1, value) for tag, kind, value in tags)
    return b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, len(tags)) + entries + bytes(8) + data


def plain_picture(width: int, height: int, wide_type: int, start: int) -> list[tuple[int, int, int]]:
    """Return the tags of a grey picture, its sides written as a type, its one strip at ``start``."""
    return [
        (256, wide_type, width),
        (257, wide_type, height),
        (258, 3, 8),
        (259, 3, 1),
        (262, 3, 1),
        (273, 4, start),
        (277, 3, 1),
        (278, 4, height),
        (279, 4, width * height),
    ]


@pytest.mark.parametrize("wide_type", [3, 4, 16])
def test_a_bigtiff_is_read(wide_type: int):
    pixels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    start = len(big_tiff(*plain_picture(4, 3, wide_type, 0)))
    content = big_tiff(*plain_picture(4, 3, wide_type, start), data=pixels.tobytes())
    np.testing.assert_array_equal(decode_frame(content, "f").pixels, np.dstack([pixels] * 3))


@pytest.mark.parametrize("kind", [1, 5, 11, 16])
def test_a_tiff_whose_sides_are_no_plain_numbers_is_refused(kind: int):
    """As LONG8, a number is elsewhere in the file: OpenCV went there, past the limit."""
    start = len(tiff(*plain_picture(4, 3, kind, 0)))
    content = tiff(*plain_picture(4, 3, kind, start), data=struct.pack("<QQ", 20000, 20000))
    with pytest.raises(InputError, match="f: corrupt: tag 256 is no plain number"):
        decode_frame(content, "f")


def test_a_preview_is_not_taken_for_the_picture():
    with pytest.raises(InputError, match="f: its first picture is a preview, as in a camera's raw file"):
        decode_frame(tiff((254, 4, 1), *plain_picture(4, 3, 4, 0)), "f")


def test_what_a_header_hides_opencv_refuses(monkeypatch: pytest.MonkeyPatch):
    """The last wall, whichever module comes first."""
    code = (
        "import sys, numpy; import {module}; from fsr_deploy.images.opencv import cv2\n"
        "black = numpy.zeros((12000, 12000), numpy.uint8)\n"
        "content = cv2.imencode('.png', black)[1]\n"
        "try:\n    sys.exit(cv2.imdecode(content, 1) is not None)\nexcept cv2.error:\n    pass"
    )
    monkeypatch.delenv("OPENCV_IO_MAX_IMAGE_PIXELS", raising=False)
    subprocess.run([sys.executable, "-c", code.format(module="fsr_deploy.synthetic")], check=True)


def test_opencv_is_loaded_in_one_place():
    package = Path(codec.__file__).parent
    users = [path.name for path in package.rglob("*.py") if re.search(r"^\s*(import|from) cv2", path.read_text(), re.M)]
    assert users == ["opencv.py"]


def test_a_tiff_whose_directory_lies_beyond_its_end_is_truncated():
    for offset in (40, 1 << 31, (1 << 64) - 1):
        with pytest.raises(InputError, match="f: truncated"):
            decode_frame(b"II+\0\x08\0\0\0" + struct.pack("<Q", offset) + bytes(8), "f")


BOMBS = {
    "PNG": png_bomb(40000, 40000),
    "JPEG": b"\xff\xd8\xff\xc0\0\x11\x08" + struct.pack(">HH", 40000, 40000) + bytes(10) + b"\xff\xda\0\2\xff\xd9",
    "BMP": b"BM" + bytes(12) + struct.pack("<Iii", 40, 40000, -40000) + bytes(40),
    "WebP": b"RIFF\x16\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + b"\x3f\x9c\0" * 2,
    "TIFF": tiff((256, 4, 40000), (257, 4, 40000)),
    "TIFF tile": tiff((256, 4, 10), (257, 4, 10), (322, 4, 40000), (323, 4, 40000)),
    "BigTIFF": big_tiff((256, 4, 40000), (257, 3, 40000)),
    "BigTIFF LONG8": big_tiff((256, 16, 40000), (257, 16, 40000)),
    "GIF": b"GIF89a\1\0\1\0\0\0\0" + b"\x2c\0\0\0\0" + struct.pack("<HHBB", 40000, 40000, 0, 8) + b"\1\0\0\x3b",
    "AVIF": b"\0\0\0\x14ftypavif\0\0\0\0mif1"
    + struct.pack(">I4sI4s4sI", 32, b"meta", 0, b"\0\0\0\x14", b"ispe", 0)
    + struct.pack(">II", 40000, 40000),
}


@pytest.mark.parametrize("kind", list(BOMBS))
def test_a_bomb_is_refused_before_it_is_decoded(kind: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(codec, "_imdecode", lambda *_: pytest.fail("decoded"))
    with pytest.raises(InputError, match="face: 40000x40000 pixels, over the limit of 134217728"):
        decode_frame(BOMBS[kind], "face")


@pytest.mark.parametrize(
    ("suffix", "mode"),
    [(suffix, mode) for suffix in FORMATS for mode in ("RGB", "L", "RGBA") if (suffix, mode) != (".jpg", "RGBA")],
)
def test_the_header_gives_the_size_that_pillow_gives(suffix: str, mode: str):
    header = read_header(encode(Image.fromarray(gradient()).convert(mode), suffix))
    assert (header.format.upper(), header.width, header.height) == (FORMATS[suffix], 40, 24)


@pytest.mark.parametrize("lossless", [False, True])
def test_the_header_of_a_webp_of_either_kind_gives_the_size(lossless: bool):
    content = encode(gradient(17, 33), ".webp", lossless=lossless)
    assert read_header(content) == ImageHeader("WebP", 33, 17)


@settings(max_examples=300, deadline=None)
@given(
    suffix=st.sampled_from(list(FORMATS)), position=st.integers(0, 2000), value=st.integers(0, 255), cut=st.booleans()
)
def test_no_damage_to_a_file_ends_in_anything_but_a_picture_or_an_input_error(suffix, position, value, cut):
    content = bytearray(encode(gradient(8, 8), suffix))
    position %= len(content)
    content[position] = value
    try:
        pixels = decode_frame(bytes(content[:position] if cut else content), "face").pixels
    except InputError as error:
        assert str(error).startswith("face: ")
    else:
        assert pixels.dtype == np.uint8 and pixels.shape[2] == 3


def test_a_device_is_not_read_as_a_file():
    with pytest.raises(InputError, match="/dev/zero: not a file"):
        read_file(Path("/dev/zero"))


def test_a_file_larger_than_any_picture_is_not_read(tmp_path: Path):
    with (tmp_path / "a.png").open("wb") as stream:
        stream.truncate(codec.MAX_FILE_BYTES + 1)  # takes no room on the disk
    with pytest.raises(InputError, match=r"a\.png: larger than 1024 MiB"):
        read_frame(tmp_path / "a.png")


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(InputError, match=r"gone\.png: cannot be read: No such file or directory"):
        read_frame(tmp_path / "gone.png")
