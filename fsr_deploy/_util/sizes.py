"""Sizes of pictures: one number for a square, or (height, width)."""

from __future__ import annotations

import re
from typing import Any

from fsr_deploy.errors import UsageError, refuse_outside

Shape = tuple[int, int]  # (height, width) in pixels
Size = int | Shape  # as users write it and as files hold it


def as_shape(size: Size) -> Shape:
    """Return a size as (height, width)."""
    return (size, size) if isinstance(size, int) else size


def enlarged(size: Size, scale: int) -> Shape:
    """Return the (height, width) of what an LR face of a size becomes."""
    height, width = as_shape(size)
    return height * scale, width * scale


def as_size(shape: Shape) -> Size:
    """Return (height, width) as a user would write it: one number for a square."""
    return shape[0] if shape[0] == shape[1] else shape


def written(size: Size) -> str:
    """Return a size as the options take it: "64" or "90,160"."""
    height, width = as_shape(size)
    return str(height) if height == width else f"{height},{width}"


def by(size: Size) -> str:
    """Return a size as a reader expects it, width first: "160x90"."""
    height, width = as_shape(size)
    return f"{width}x{height}"


def read_size(option: str, text: str | None) -> Size | None:
    """Return what a user wrote, "64" or "90,160"; None for nothing. Raises UsageError for anything else."""
    if text is None:
        return None
    if not re.fullmatch(r" *-?[0-9]{1,9} *(, *-?[0-9]{1,9} *)?", text):
        raise UsageError(f"{option} {text}: give the side in pixels, or HEIGHT,WIDTH")
    sides = [int(part) for part in text.split(",")]
    return as_size((sides[0], sides[-1]))


def checked_size(option: str, value: object, least: int, most: int | None = None) -> Size:
    """Return a size from Python or the shell; raises UsageError where a side is not from ``least`` to ``most``."""
    sides: tuple[Any, ...] = tuple(value) if isinstance(value, tuple | list) and len(value) == 2 else (value,)
    for side in sides:
        refuse_outside(option, side, least, most)
    return as_size((int(sides[0]), int(sides[-1])))
