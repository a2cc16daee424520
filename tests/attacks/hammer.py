"""How fuzz targets run: Hypothesis in rounds, each with a seed of its own, for FUZZ_SECONDS (600 unless set)."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

SECONDS = float(os.environ.get("FUZZ_SECONDS", "600"))
EXAMPLES = 50


def hammer(strategy: st.SearchStrategy[Any], attack: Callable[[Any], None]) -> int:
    """Call ``attack`` with what the strategy makes until the time is over; returns how often.

    What makes it fail is made as small as possible by Hypothesis and shown.
    """
    count = 0

    def counted(example: Any) -> None:
        nonlocal count
        count += 1
        attack(example)

    rounds = settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    end = time.monotonic() + SECONDS
    number = time.time_ns()
    while time.monotonic() < end:
        number += 1
        seed(number)(rounds(given(strategy)(counted)))()
    print(f"{count} examples in {SECONDS:g} s")
    return count


def damaged(seeds: list[bytes]) -> st.SearchStrategy[bytes]:
    """Return files made of ``seeds``: bytes changed, removed, repeated, put in, cut off, or two files mixed."""
    edit = st.tuples(
        st.sampled_from(["set", "cut", "repeat", "insert", "end"]),
        st.floats(0, 1, exclude_max=True),
        st.binary(min_size=1, max_size=8),
        st.integers(1, 64),
    )
    return st.builds(_edited, st.sampled_from(seeds), st.lists(edit, min_size=1, max_size=12))


def _edited(content: bytes, edits: list[tuple[str, float, bytes, int]]) -> bytes:
    for kind, place, some, count in edits:
        at = int(place * len(content))
        if kind == "set":
            content = content[:at] + some + content[at + len(some) :]
        elif kind == "cut":
            content = content[:at] + content[at + count :]
        elif kind == "repeat":
            content = content[:at] + content[at : at + count] * 3 + content[at:]
        elif kind == "insert":
            content = content[:at] + some + content[at:]
        else:
            content = content[: max(at, 1)]
    return content


def written(folder: Path, name: str, content: bytes) -> Path:
    """Return a file with the content."""
    path = folder / name
    path.write_bytes(content)
    return path
