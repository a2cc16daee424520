"""Colours are those of the film, to the level: BT.601 and BT.709, limited and full range, 8 and 10 bits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from fsr_deploy.films.colour import BT601, BT709, FULL, LIMITED, Colours, Pixels, to_planes, to_rgb
from fsr_deploy.films.encoder import Choice
from tests.films.drawn import Nearest, draw, frames_of, restore

PATCH = 8
WEIGHTS = {BT601: (0.299, 0.114), BT709: (0.2126, 0.0722), 9: (0.2627, 0.0593)}
KINDS = [(matrix, range_, bits) for matrix in WEIGHTS for range_ in (LIMITED, FULL) for bits in (8, 10)]


class Looks(Nearest):
    """Keeps what it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Pixels] = []

    def restore(self, frames: Sequence[Pixels], first: int) -> list[Pixels]:
        self.seen += frames
        return super().restore(frames, first)


def coded(rgb: NDArray[np.float64], colours: Colours, bits: int) -> list[NDArray[np.float64]]:
    """Return Y, U and V of RGB in 0..1 by the equations of BT.601 and BT.709, unrounded."""
    kr, kb = WEIGHTS[colours.matrix]
    y = rgb @ (kr, 1 - kr - kb, kb)
    u, v = (rgb[..., 2] - y) / (2 - 2 * kb), (rgb[..., 0] - y) / (2 - 2 * kr)
    unit, largest = 1 << (bits - 8), (1 << bits) - 1
    if colours.range == FULL:
        return [largest * y, largest * u + 128 * unit, largest * v + 128 * unit]
    return [unit * (219 * y + 16), unit * (224 * u + 128), unit * (224 * v + 128)]


def seen(planes: Sequence[NDArray[np.generic]], colours: Colours, bits: int) -> NDArray[np.float64]:
    """Return RGB in 0..1 of Y, U and V, the inverse of ``coded``."""
    kr, kb = WEIGHTS[colours.matrix]
    unit, largest = 1 << (bits - 8), (1 << bits) - 1
    y, u, v = (plane.astype(float) for plane in planes)
    if colours.range == FULL:
        y, u, v = y / largest, (u - 128 * unit) / largest, (v - 128 * unit) / largest
    else:
        y, u, v = (y / unit - 16) / 219, (u / unit - 128) / 224, (v / unit - 128) / 224
    red, blue = y + (2 - 2 * kr) * v, y + (2 - 2 * kb) * u
    return np.clip(np.stack([red, (y - kr * red - kb * blue) / (1 - kr - kb), blue], axis=-1), 0, 1)


def patches(colours: Colours, bits: int, halved: bool) -> list[NDArray[np.generic]]:
    """Return the planes of 16 flat patches of any colours, grey, black and white among them."""
    rgb = np.random.default_rng(0).random((4, 4, 3))
    rgb[0, :3] = [[0, 0, 0], [1, 1, 1], [0.5, 0.5, 0.5]]
    large = rgb.repeat(PATCH, axis=0).repeat(PATCH, axis=1)
    kind = np.uint8 if bits == 8 else np.uint16
    planes = [np.clip(np.rint(plane), 0, (1 << bits) - 1).astype(kind) for plane in coded(large, colours, bits)]
    return [planes[0], planes[1][::2, ::2], planes[2][::2, ::2]] if halved else planes


def middles(plane: NDArray[np.generic], size: int = 32) -> NDArray[np.float64]:
    patch = PATCH * plane.shape[0] // size
    return plane[patch // 2 :: patch, patch // 2 :: patch].astype(float)


@pytest.mark.parametrize("halved", [False, True], ids=["444", "420"])
@pytest.mark.parametrize(("matrix", "range_", "bits"), KINDS)
def test_flat_patches_keep_their_colours(tmp_path: Path, matrix: int, range_: int, bits: int, halved: bool) -> None:
    colours = Colours(matrix, range_, 1, 13)
    pix_fmt = ("yuv420p" if halved else "yuv444p") + ("" if bits == 8 else "10le")
    planes = patches(colours, bits, halved)
    source = draw(tmp_path / "film.mkv", [planes], (0,), codec="ffv1", pix_fmt=pix_fmt, colours=colours)
    restorer = Looks()
    restore(source, tmp_path / "new.mkv", choice=Choice("ffv1", None, pix_fmt), restorer=restorer)

    levels = 255 if bits == 8 else 1023
    (pixels,) = restorer.seen
    assert pixels.dtype == (np.uint8 if bits == 8 else np.uint16)
    shown = np.stack([middles(pixels[..., channel]) for channel in range(3)], axis=-1)
    expected = seen([middles(plane) for plane in planes], colours, bits)
    assert np.abs(shown / np.iinfo(pixels.dtype).max - expected).max() * levels <= 0.51

    (frame,) = frames_of(tmp_path / "new.mkv")
    assert frame.format.name == pix_fmt
    assert (frame.colorspace, frame.color_range) == (matrix, range_)
    with av.open(str(tmp_path / "new.mkv")) as film:
        context = film.streams.video[0].codec_context
        assert (context.color_primaries, context.color_trc) == (1, 13)
    new = _planes(frame, bits)
    assert max(np.abs(middles(a) - middles(b)).max() for a, b in zip(new, planes, strict=True)) <= 1
    again = seen([middles(plane) for plane in new], colours, bits)
    assert np.abs(again - expected).max() * levels <= (1 if bits == 10 else 1.8)  # codes themselves are a level apart


def _planes(frame: object, bits: int) -> list[NDArray[np.generic]]:
    kind = np.dtype(np.uint8 if bits == 8 else np.uint16)
    planes = []
    for plane in frame.planes:  # type: ignore[attr-defined]
        rows = np.frombuffer(bytes(plane), kind).reshape(plane.height, -1)
        planes.append(rows[:, : plane.width])
    return planes


def test_the_default_codec_at_crf_0_keeps_the_colours_of_rgb(tmp_path: Path) -> None:
    """What a user sees: RGB before and after, within a level."""
    colours = Colours(BT709, LIMITED)
    source = draw(
        tmp_path / "film.mp4", [patches(colours, 8, True)] * 3, (0, 40, 80), pix_fmt="yuv420p", colours=colours
    )
    old, new = Looks(), Looks()
    restore(source, tmp_path / "new.mp4", choice=Choice(crf=0), restorer=old)
    restore(tmp_path / "new.mp4", tmp_path / "newer.mp4", choice=Choice(crf=0), restorer=new)
    for before, after in zip(old.seen, new.seen, strict=True):
        difference = np.abs(before.astype(int) - after)[PATCH // 2 :: PATCH, PATCH // 2 :: PATCH]
        assert difference.max() <= 1


@pytest.mark.parametrize(("height", "matrix"), [(480, BT601), (720, BT709)])
def test_a_matrix_that_is_not_named_is_that_of_the_size_and_is_named(tmp_path: Path, height: int, matrix: int) -> None:
    planes = [np.full((height, 32), level, np.uint8) for level in (80, 100, 160)]
    source = draw(tmp_path / "film.mkv", [planes], (0,), codec="ffv1", colours=Colours(2, 0))
    restore(source, tmp_path / "new.mkv", 2, choice=Choice("ffv1"))
    assert frames_of(tmp_path / "new.mkv")[0].colorspace == matrix


@pytest.mark.parametrize("size", [(6, 10), (7, 11), (1, 1), (2, 3)])
def test_chroma_is_interpolated_where_it_lies(size: tuple[int, int]) -> None:
    """A ramp of chroma on the even columns comes back as the same ramp; odd sizes included."""
    height, width = size
    ramp = np.tile(np.linspace(20000, 40000, width), (height, 1))
    rgb = np.stack([ramp, np.full_like(ramp, 30000), 60000 - ramp], axis=-1).astype(np.uint16)
    planes = to_planes(rgb, Colours(BT709, FULL), 16, (True, True))
    assert [plane.shape for plane in planes] == [size, *[(-(-height // 2), -(-width // 2))] * 2]
    frame = _frame(planes, width, height)
    back = to_rgb(frame, Colours(BT709, FULL))  # type: ignore[arg-type]
    assert back.shape == rgb.shape
    if width > 4:  # a ramp's ends are bent
        assert np.abs(back.astype(int) - rgb)[:, 2:-2].max() <= 3


def _frame(planes: Sequence[NDArray[np.generic]], width: int, height: int) -> object:
    frame = av.VideoFrame(width, height, "yuv420p16le")
    for target, source in zip(frame.planes, planes, strict=True):
        rows = np.frombuffer(memoryview(target), np.uint16).reshape(target.height, -1)
        rows[:, : source.shape[1]] = source
    return frame


@pytest.mark.parametrize("name", ["nv12", "yuyv422", "yuva420p", "p010le", "yuv411p", "gbrp", "rgb24", "bgra", "gray"])
def test_any_pixel_format_is_read(name: str) -> None:
    """Of a flat frame: 200, 120, 60 in RGB, or its grey."""
    rgb = av.VideoFrame.from_ndarray(np.tile(np.uint8([200, 120, 60]), (16, 16, 1)), "rgb24")
    frame = rgb.reformat(
        format=name, dst_colorspace="ITU601", dst_color_range="MPEG", src_color_range="JPEG", threads=1
    )
    expected = (137, 137, 137) if name == "gray" else (200, 120, 60)
    pixels = to_rgb(frame, Colours(BT601, FULL if name == "gray" else LIMITED))
    scale = 257 if pixels.dtype == np.uint16 else 1
    assert np.abs(pixels / scale - expected).max() <= 3


def test_a_frame_of_ten_bits_has_the_same_pixels_each_time() -> None:
    """FFmpeg with more than one thread gives other ones in about 1 of 40 conversions of this frame."""
    rgb = av.VideoFrame.from_ndarray(np.tile(np.uint8([200, 120, 60]), (16, 16, 1)), "rgb24")
    frame = rgb.reformat(format="p010le", threads=1)
    first = to_rgb(frame, Colours(BT601, LIMITED))
    assert all(np.array_equal(to_rgb(frame, Colours(BT601, LIMITED)), first) for _ in range(500))
