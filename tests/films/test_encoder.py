"""Encoders write the same packets each time, and tell which frames they cannot write."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from fsr_deploy.errors import UsageError
from fsr_deploy.films.colour import BT601, LIMITED, Colours, to_planes
from fsr_deploy.films.encoder import Choice, Video, choose, open_encoder, to_frame

COLOURS = Colours(BT601, LIMITED)
COUNT, TIMES = 20, 8


def video(codec: str, width: int, height: int, bits: int = 8) -> Video:
    return choose(
        Choice(codec), (width, height), bits, COLOURS, aspect=None, time_base=Fraction(1, 25), rate=Fraction(25)
    )


def encoded(of: Video) -> bytes:
    """Return the packets of a moving pattern with noise, which leave an encoder much to decide."""
    noise = np.random.default_rng(1)
    width, height = of.size
    rows, columns = np.mgrid[:height, :width]
    encoder, packets = open_encoder(of), []
    for index in range(COUNT):
        pattern = np.stack([3 * columns + 5 * index, 4 * rows + 3 * index, 2 * (rows + columns) + 7 * index], axis=-1)
        pixels = np.clip(pattern % 256 + noise.integers(-8, 8, pattern.shape), 0, 255).astype(np.uint8)
        packets += encoder.encode(to_frame(to_planes(pixels, COLOURS, of.bits, of.halved), of, index))
    return b"".join(map(bytes, [*packets, *encoder.encode(None)]))


@pytest.mark.parametrize("bits", [8, 10])
@pytest.mark.parametrize("codec", ["libx264", "libx265", "libsvtav1"])
def test_the_packets_are_the_same_each_time(codec: str, bits: int) -> None:
    of = video(codec, 96, 96, bits)
    assert len({encoded(of) for _ in range(TIMES)}) == 1


@pytest.mark.parametrize("size", [(32, 32), (64, 128), (40, 48), (48, 40), (320, 16)])
def test_libx264_writes_small_frames_the_same_each_time(size: tuple[int, int]) -> None:
    of = video("libx264", *size)
    assert len({encoded(of) for _ in range(TIMES)}) == 1


@pytest.mark.parametrize("size", [(64, 128), (128, 64), (32, 32)])
def test_libx265_refuses_frames_in_which_it_breaks_down(size: tuple[int, int]) -> None:
    told = (
        rf"libx265: frames of {size[0]}x{size[1]} are too small for it, it needs 65 pixels a side; libx264 takes them"
    )
    with pytest.raises(UsageError, match=told):
        video("libx265", *size)
    assert video("libx265", 66, 66).crf == 18


def test_the_name_of_a_format_stands_for_its_encoder() -> None:
    assert Choice("h264") == Choice("libx264")
    assert Choice("hevc", crf=20) == Choice("libx265", crf=20)
