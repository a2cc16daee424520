"""Rows are on the disk as they come, and none is there twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.rows import Rows, append_row, read_rows


def test_a_line_that_was_cut_off_is_left_out_and_spoils_no_other(tmp_path: Path) -> None:
    path = tmp_path / "rows"
    append_row(path, {"a": 1})
    with path.open("a") as stream:
        stream.write('{"a": 2, "b": "cut o')
    append_row(path, {"a": 3})
    assert read_rows(path) == [{"a": 1}, {"a": 3}]
    assert read_rows(tmp_path / "nothing") == []


def test_a_figure_that_is_there_is_not_measured_again(tmp_path: Path) -> None:
    calls: list[int] = []

    def figure() -> dict[str, int]:
        calls.append(1)
        return {"ms": len(calls)}

    rows = Rows(tmp_path / "rows", "speed")
    for question in ("speed", "speed", "parity"):
        rows.question = question
        rows.measure({"batch": 1}, figure)
    assert [(row["question"], row["ms"]) for row in read_rows(rows.path)] == [("speed", 1), ("parity", 2)]


def test_a_figure_that_was_measured_again_all_the_same_is_not_there_twice(tmp_path: Path) -> None:
    rows = Rows(tmp_path / "rows", "build")
    for seconds in (60, 61):
        rows.add({"bundle": "tiny"}, {"build_s": seconds})
    assert [row["build_s"] for row in read_rows(rows.path)] == [60]


def test_what_failed_is_tried_again_and_told_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "rows"
    for _ in range(2):
        rows = Rows(path, "speed", go_on=True)
        rows.measure({"batch": 1}, lambda: {"ms": 1 / 0})
        assert rows.failures == 1
    assert [row["failed"] for row in read_rows(path)] == ["ZeroDivisionError: division by zero"]
    assert "Traceback" in capsys.readouterr().err
    Rows(path, "speed", go_on=True).measure({"batch": 1}, lambda: {"ms": 2})
    assert [row.get("ms") for row in read_rows(path)] == [None, 2]


def test_circumstances_are_written_again_only_where_they_changed(tmp_path: Path) -> None:
    path = tmp_path / "rows"
    for driver in ("1", "1", "2"):
        Rows(path, "speed", go_on=True).note({"driver": driver})
    assert [row["driver"] for row in read_rows(path)] == ["1", "2"]


def test_a_file_begins_anew_unless_it_is_gone_on_with(tmp_path: Path) -> None:
    append_row(tmp_path / "rows", {"question": "speed"})
    Rows(tmp_path / "rows", "speed", go_on=True)
    assert len(read_rows(tmp_path / "rows")) == 1
    Rows(tmp_path / "rows", "speed")
    assert read_rows(tmp_path / "rows") == []
