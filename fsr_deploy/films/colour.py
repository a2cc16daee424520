"""YUV to RGB and back, exact to the level, for what video is coded in: its matrix, its range, 8 to 16 bits.

FFmpeg's libswscale is not used for this: it takes 1023 of 10 bits for 65472 of 65535, four levels of ten bits too low,
and is off by one level in full range. Here every plane is brought to 16 bits, one affine matrix is applied by OpenCV in
float32, and the result is rounded once to 16 bits and, for 8 bits, once more.

    limited: y = (Y - 16) / 219, u = (U - 128) / 224; full: y = Y / 255, u = (U - 128) / 255   (times 2^(bits - 8))
    r = y + 2 (1 - kr) v,  b = y + 2 (1 - kb) u,  g = (y - kr r - kb b) / (1 - kr - kb)

Chroma of 4:2:0 and 4:2:2 lies on the even columns, and between the rows, as in MPEG-2, H.264 and HEVC; it is
interpolated linearly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fsr_deploy.errors import InputError
from fsr_deploy.images.opencv import cv2

if TYPE_CHECKING:
    from av import VideoFrame
    from av.video.format import VideoFormat

Pixels = NDArray[np.uint8] | NDArray[np.uint16]  # (h, w, 3) RGB, 8 bits, or more bits spread over all 16
Plane = NDArray[np.uint16]  # (h, w), codes shifted up to 16 bits

_BT601, _BT709, _BT2020 = (0.299, 0.114), (0.2126, 0.0722), (0.2627, 0.0593)
# FFmpeg's numbers of matrices (AVCOL_SPC_*): kr and kb.
_WEIGHTS = {1: _BT709, 4: (0.30, 0.11), 5: _BT601, 6: _BT601, 7: (0.212, 0.087), 9: _BT2020}
BT601, BT709, UNKNOWN = 6, 1, 2
LIMITED, FULL = 1, 2
_RGB = 0


@dataclass(frozen=True)
class Colours:
    """How a film's colours are coded, in FFmpeg's numbers: ``matrix`` (AVCOL_SPC), ``range`` (1 limited, 2 full),
    ``primaries`` and ``transfer``, which are carried over.
    """

    matrix: int
    range: int
    primaries: int = UNKNOWN
    transfer: int = UNKNOWN


def colours_of(frame: VideoFrame, primaries: int, transfer: int) -> Colours:
    """Return how the colours of a decoded frame are coded, with what its stream says beside.

    A matrix that the film does not name is that of its size, as players take it: BT.709 from 1280 columns or 577 rows
    on, BT.601 below. The film that is written names it, since it is larger. RGB is written as BT.709 in limited range.
    Raises InputError for a matrix that is no linear function.
    """
    if is_rgb(frame.format):
        return Colours(BT709, LIMITED, primaries, transfer)
    matrix = int(frame.colorspace)
    if matrix in (_RGB, UNKNOWN, 3):
        matrix = BT709 if frame.width >= 1280 or frame.height > 576 else BT601
    if matrix not in _WEIGHTS:
        raise InputError(f"its colour matrix (FFmpeg's number {matrix}) is not one of BT.601, BT.709 and BT.2020")
    full = int(frame.color_range) == FULL or frame.format.name.startswith("yuvj")
    return Colours(matrix, FULL if full else LIMITED, primaries, transfer)


def is_rgb(kind: VideoFormat) -> bool:
    """Tell whether a pixel format holds red, green and blue."""
    return bool(kind.is_rgb or kind.has_palette)


def bits_of(kind: VideoFormat) -> int:
    """Return the bits per sample of a pixel format."""
    return 8 if kind.has_palette else max(int(component.bits) for component in kind.components)


def to_rgb(frame: VideoFrame, colours: Colours) -> Pixels:
    """Return a decoded frame as (h, w, 3) RGB, uint8 for 8 bits, uint16 over 0..65535 for more. Alpha is dropped."""
    bits = bits_of(frame.format)
    if is_rgb(frame.format):
        # Only the order of the samples changes here.
        return _deep_rgb(frame, bits) if bits > 8 else np.asarray(converted(frame, "rgb24").to_ndarray(), np.uint8)
    planar = frame if _is_planar(frame.format) else converted(frame, _planar_name(frame.format))
    luma, *chroma = [_read(planar, index, bits) for index in range(min(len(planar.planes), 3))]
    if len(chroma) < 2:  # grey
        chroma = [np.full_like(luma, 1 << 15)] * 2
    full_size = [_enlarged(plane, luma.shape) for plane in chroma]
    rgb = cv2.transform(cv2.merge([luma, *full_size]), _decoding(colours, bits))
    return _to_8(rgb, 1 / 257) if bits == 8 else np.asarray(rgb, np.uint16)


def converted(frame: VideoFrame, name: str) -> VideoFrame:
    """Return a frame in another pixel format, by FFmpeg's name. In one thread: with more, FFmpeg 8 now and then gives
    eight columns of some rows another colour where the source has more than 8 bits.
    """
    return frame.reformat(format=name, threads=1)


def to_planes(pixels: Pixels, colours: Colours, bits: int, halved: tuple[bool, bool]) -> list[NDArray[Any]]:
    """Return RGB pixels as the planes Y, U and V of ``bits`` bits; ``halved`` says whether chroma has half the columns
    and half the rows. uint8 for 8 bits, otherwise uint16.
    """
    deep = pixels if pixels.dtype == np.uint16 else np.multiply(pixels, 257, dtype=np.uint16)
    luma, *chroma = _split(cv2.transform(deep, _encoding(colours, bits)))
    return [_rounded(plane, bits) for plane in (luma, *(_reduced(plane, halved) for plane in chroma))]


def _read(frame: VideoFrame, index: int, bits: int) -> Plane:
    plane = frame.planes[index]
    kind = np.dtype(np.uint8 if bits == 8 else "<u2")
    rows = np.frombuffer(memoryview(plane), kind)[: plane.height * (plane.line_size // kind.itemsize)]
    codes = rows.reshape(plane.height, -1)[:, : plane.width]
    return np.multiply(codes, 1 << (16 - bits), dtype=np.uint16)


def _is_planar(kind: VideoFormat) -> bool:
    """Tell whether Y, U and V lie in planes of their own, in bytes or little-endian words that hold nothing else, and
    chroma has all columns and rows or half of them.
    """
    planes = [int(component.plane) for component in kind.components]
    chroma = {kind.chroma_width(64), kind.chroma_height(64)} <= {32, 64}
    return planes in ([0], [0, 1, 2]) and chroma and not kind.is_big_endian and not kind.is_bit_stream


def _planar_name(kind: VideoFormat) -> str:
    """Return the planar format with the same samples as one that is packed, big-endian or has alpha."""
    bits = bits_of(kind)
    depth = next(depth for depth in (8, 9, 10, 12, 14, 16) if depth >= bits)
    suffix = "" if depth == 8 else f"{depth}le"
    if len(kind.components) < 3:
        return f"gray{suffix}"
    width, height = kind.chroma_width(64), kind.chroma_height(64)
    return f"yuv{ {(32, 32): '420', (32, 64): '422'}.get((width, height), '444') }p{suffix}"


def _deep_rgb(frame: VideoFrame, bits: int) -> NDArray[np.uint16]:
    """Return RGB of more than 8 bits over the full 16."""
    if frame.format.name.startswith("gbrp") and not frame.format.is_big_endian and bits < 16:
        green, blue, red = (_read(frame, index, bits) for index in range(3))
        scale = 65535 / (((1 << bits) - 1) << (16 - bits))
        return np.rint(np.stack([red, green, blue], axis=-1) * scale).astype(np.uint16)
    return np.asarray(converted(frame, "rgb48le").to_ndarray(), np.uint16)


def _enlarged(plane: Plane, shape: tuple[int, ...]) -> Plane:
    """Return chroma at the size of luma."""
    height, width = shape
    if plane.shape[0] < height:
        double = (plane.shape[1], 2 * plane.shape[0])
        plane = np.asarray(cv2.resize(plane, double, interpolation=cv2.INTER_LINEAR)[:height], np.uint16)
    if plane.shape[1] < width:
        between = _mean(plane, _shifted(plane, -1))
        pairs = np.asarray(cv2.merge([plane, between]), np.uint16)
        plane = pairs.reshape(height, -1)[:, :width]
    return np.ascontiguousarray(plane)


def _reduced(plane: Plane, halved: tuple[bool, bool]) -> Plane:
    """Return chroma with half the columns and rows where asked for; the last of an odd number is repeated."""
    columns, rows = halved
    if rows:
        even = np.concatenate([plane, plane[-1:]]) if plane.shape[0] % 2 else plane
        plane = _mean(even[0::2], even[1::2])
    if columns:
        even = np.concatenate([plane, plane[:, -1:]], axis=1) if plane.shape[1] % 2 else plane
        here, right = _split(even.reshape(even.shape[0], -1, 2))
        left = _shifted(right, 1)
        left[:, 0] = here[:, 0]
        plane = _mean(here, _mean(left, right))
    return plane


def _split(pixels: Any) -> list[Plane]:
    return [np.asarray(plane, np.uint16) for plane in cv2.split(pixels)]


def _mean(one: Plane, other: Plane) -> Plane:
    return np.asarray(cv2.addWeighted(one, 0.5, other, 0.5, 0), np.uint16)


def _shifted(plane: Plane, columns: int) -> Plane:
    """Return a plane moved to the right, or to the left by -1; the column at the edge is kept."""
    if columns < 0:
        return np.concatenate([plane[:, 1:], plane[:, -1:]], axis=1)
    return np.concatenate([plane[:, :1], plane[:, :-1]], axis=1)


def _rounded(plane: Plane, bits: int) -> NDArray[Any]:
    if bits == 8:
        return _to_8(plane, 1 / 256)
    half = 1 << (15 - bits) if bits < 16 else 0
    return (np.minimum(plane, 65535 - half) + np.uint16(half)) >> (16 - bits)


def _to_8(plane: NDArray[Any], scale: float) -> NDArray[np.uint8]:
    return np.asarray(cv2.convertScaleAbs(plane, alpha=scale), np.uint8)


def _decoding(colours: Colours, bits: int) -> NDArray[np.float64]:
    """Return the (3, 4) matrix from Y, U, V codes shifted to 16 bits to R, G, B in 0..65535."""
    kr, kb = _WEIGHTS[colours.matrix]
    kg = 1 - kr - kb
    to_rgb = np.array(
        [
            [1, 0, 2 * (1 - kr)],
            [1, -2 * kb * (1 - kb) / kg, -2 * kr * (1 - kr) / kg],
            [1, 2 * (1 - kb), 0],
        ]
    )
    zero, span = _levels(colours, bits)
    matrix = to_rgb / span * 65535
    return np.column_stack([matrix, -matrix @ zero])


def _encoding(colours: Colours, bits: int) -> NDArray[np.float64]:
    """Return the (3, 4) matrix from R, G, B in 0..65535 to Y, U, V codes shifted to 16 bits."""
    zero, _ = _levels(colours, bits)
    matrix = np.linalg.inv(_decoding(colours, bits)[:, :3])
    return np.column_stack([matrix, zero])


def _levels(colours: Colours, bits: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the codes of y = u = v = 0, and how many codes 1 is, for Y, U and V, shifted to 16 bits."""
    if colours.range == LIMITED:
        return np.array([16.0, 128, 128]) * 256, np.array([219.0, 224, 224]) * 256
    largest = float(((1 << bits) - 1) << (16 - bits))
    return np.array([0.0, 1 << 15, 1 << 15]), np.array([largest] * 3)
