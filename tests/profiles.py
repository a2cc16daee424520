"""Colour profiles made by hand, for pictures that are stored in other numbers than sRGB's."""

import struct
from itertools import product

# Red, green and blue in XYZ under D50, as the columns of each profile.
P3 = ((0.5151, 0.2412, -0.0011), (0.2920, 0.6922, 0.0419), (0.1571, 0.0666, 0.7841))
ADOBE = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
PROPHOTO = ((0.7977, 0.2880, 0.0), (0.1352, 0.7119, 0.0), (0.0313, 0.0001, 0.8249))
WHITE = (0.9642, 1.0, 0.8249)


def rgb_profile(primaries: tuple[tuple[float, float, float], ...], gamma: float) -> bytes:
    """Return an ICC profile, version 2, of a display."""
    red, green, blue = map(_xyz, primaries)
    curve = _curve(gamma)
    return _profile(b"mntrRGB XYZ ", rXYZ=red, gXYZ=green, bXYZ=blue, rTRC=curve, gTRC=curve, bTRC=curve)


def grey_profile(gamma: float) -> bytes:
    """Return an ICC profile of grey values."""
    return _profile(b"mntrGRAYXYZ ", kTRC=_curve(gamma))


def cmyk_profile() -> bytes:
    """Return an ICC profile of a printer whose inks are a little unlike the ideal ones."""
    identity = bytes(range(256))
    corners = b"".join(
        bytes(
            (
                round(255 * (1 - 0.9 * k) * (1 - 0.2 * c - 0.3 * m - 0.1 * y)),
                128 - 40 * c + 50 * m,
                128 + 60 * y - 30 * c,
            )
        )
        for c, m, y, k in product((0, 1), repeat=4)
    )
    matrix = struct.pack(">9i", *(65536 * (row == column) for row in range(3) for column in range(3)))
    table = b"mft1\0\0\0\0" + bytes((4, 3, 2, 0)) + matrix + identity * 4 + corners + identity * 3
    return _profile(b"prtrCMYKLab ", A2B0=table)


def _profile(kinds: bytes, **tags: bytes) -> bytes:
    tags = {
        "desc": b"desc\0\0\0\0" + struct.pack(">I", 5) + b"test\0" + bytes(12 + 67),
        "cprt": b"text\0\0\0\0none\0",
        "wtpt": _xyz(WHITE),
        **tags,
    }
    start = 128 + 4 + 12 * len(tags)
    table = body = b""
    for name, value in tags.items():
        table += name.encode() + struct.pack(">II", start + len(body), len(value))
        body += value + bytes(-len(value) % 4)
    head = struct.pack(">I4sI", start + len(body), b"lcms", 0x02400000) + kinds + bytes(12) + b"acsp" + bytes(28)
    head += _fixed(*WHITE) + bytes(48)
    return head.ljust(128, b"\0")[:128] + struct.pack(">I", len(tags)) + table + body


def _fixed(*values: float) -> bytes:
    return struct.pack(f">{len(values)}i", *(round(value * 65536) for value in values))


def _xyz(values: tuple[float, float, float]) -> bytes:
    return b"XYZ \0\0\0\0" + _fixed(*values)


def _curve(gamma: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
