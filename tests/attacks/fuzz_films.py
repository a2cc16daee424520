"""Fuzz targets: damaged films and segments. An FsrError or a result is right, anything else is a defect."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from fsr_deploy.errors import FsrError
from fsr_deploy.films.report import read_report
from fsr_deploy.films.segments import read_segment
from tests.attacks.hammer import damaged, hammer, written
from tests.attacks.hostile_films import hostile_films, seed
from tests.films.drawn import restore

pytestmark = pytest.mark.timeout(0)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("film.mp4", {"sounds": 1, "subtitles": "mov_text"}),
        ("film.mkv", {"sounds": 1, "subtitles": "subrip"}),
        ("film.avi", {}),
        ("film.ts", {}),
        ("film.flv", {"pix_fmt": "yuv444p"}),
        ("av1.mkv", {"codec": "libsvtav1", "pix_fmt": "yuv420p", "side": 64, "options": {"preset": "12"}}),
        (
            "hevc.mp4",
            {"codec": "libx265", "pix_fmt": "yuv420p", "side": 64, "options": {"x265-params": "log-level=none"}},
        ),
        ("ffv1.mkv", {"codec": "ffv1", "options": {"g": "1"}}),
    ],
)
def test_damaged_films(tmp_path: Path, name: str, options: dict[str, Any]) -> None:
    content = seed(tmp_path / name, **options)

    def attack(film: bytes) -> None:
        target = tmp_path / "new.mkv"
        with suppress(FsrError):
            restore(written(tmp_path, name, film), target, overwrite=True, resume=False)
        target.unlink(missing_ok=True)

    assert hammer(damaged([content]), attack) > 0


def test_damaged_hostile_films(tmp_path: Path) -> None:
    films = dict(hostile_films(tmp_path))

    def attack(film: tuple[str, bytes]) -> None:
        with suppress(FsrError):
            restore(written(tmp_path, *film), tmp_path / "new.mkv", overwrite=True, resume=False)

    named = st.sampled_from(sorted(films)).flatmap(lambda name: st.tuples(st.just(name), damaged([films[name]])))
    assert hammer(named, attack) > 0


def test_damaged_segments_and_reports(tmp_path: Path) -> None:
    segment = b"fsrfilm1\x02\0\0\0" + bytes(16) + b"\x03\0\0\0\x01" + bytes(16) + b"\x02\0\0\0\0" + b"abcde"
    report = b'{"frames": 3, "failed": [{"reason": "x", "first": 1, "last": 2, "seconds": 0.5}]}'
    assert [packet.content for packet in read_segment(written(tmp_path, "segment", segment))] == [b"abc", b"de"]

    def attack(content: bytes) -> None:
        with suppress(FsrError):
            read_segment(written(tmp_path, "segment", content))
        written(tmp_path, "report.json", content)
        assert isinstance(read_report(tmp_path, 3).failed, list)

    assert hammer(damaged([segment, report]), attack) > 0
