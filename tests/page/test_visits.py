"""No file of a visitor stays longer than it is needed."""

from __future__ import annotations

from pathlib import Path

import pytest

from fsr_deploy.page.visits import Visits


@pytest.fixture
def visits(tmp_path: Path) -> Visits:
    return Visits(tmp_path)


def uploaded(home: Path, name: str) -> Path:
    """Put a file where Gradio does: into a folder of its own."""
    path = home / f"digest-of-{name}" / f"{name}.png"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"picture")
    return path


def left(home: Path) -> list[str]:
    return sorted(path.name for path in home.rglob("*") if path.is_file())


def test_a_new_result_takes_the_place_of_the_old_one(visits: Visits, tmp_path: Path) -> None:
    first, _ = visits.begin("anna", "picture", uploaded(tmp_path, "a"))
    (first / "a_sr.png").write_bytes(b"result")
    second, _ = visits.begin("anna", "picture", uploaded(tmp_path, "b"))
    (second / "b_sr.png").write_bytes(b"result")
    assert left(tmp_path) == ["b.png", "b_sr.png"]


def test_the_same_file_is_kept_when_it_is_done_again(visits: Visits, tmp_path: Path) -> None:
    upload = uploaded(tmp_path, "a")
    visits.begin("anna", "picture", upload)
    visits.begin("anna", "picture", upload)
    assert left(tmp_path) == ["a.png"]


def test_who_goes_leaves_nothing_and_others_keep_what_is_theirs(visits: Visits, tmp_path: Path) -> None:
    shared = uploaded(tmp_path, "a")
    _, stop = visits.begin("anna", "picture", shared)
    visits.begin("anna", "film", uploaded(tmp_path, "f"))
    folder, others_stop = visits.begin("ben", "picture", shared)
    (folder / "a_sr.png").write_bytes(b"result")
    visits.leave("anna")
    assert (stop.is_set(), others_stop.is_set(), left(tmp_path)) == (True, False, ["a.png", "a_sr.png"])
    visits.leave("ben")
    visits.leave("nobody")
    assert list(tmp_path.iterdir()) == []


def test_what_was_brought_and_not_used_goes_too(visits: Visits, tmp_path: Path) -> None:
    visits.bring("anna", "film", uploaded(tmp_path, "f"))
    visits.leave("anna")
    assert list(tmp_path.iterdir()) == []


def test_another_film_stops_the_one_before(visits: Visits, tmp_path: Path) -> None:
    _, first = visits.begin("anna", "film", uploaded(tmp_path, "f"))
    _, picture = visits.begin("anna", "picture", uploaded(tmp_path, "a"))
    visits.bring("anna", "film", uploaded(tmp_path, "g"))
    assert (first.is_set(), picture.is_set(), left(tmp_path)) == (True, False, ["a.png", "g.png"])


def test_what_is_cleared_in_the_page_is_removed(visits: Visits, tmp_path: Path) -> None:
    visits.begin("anna", "picture", uploaded(tmp_path, "a"))
    visits.begin("anna", "film", uploaded(tmp_path, "f"))
    visits.clear("anna", "picture")
    visits.clear("nobody", "picture")
    assert left(tmp_path) == ["f.png"]


def test_at_the_end_all_work_stops_and_none_begins(visits: Visits, tmp_path: Path) -> None:
    _, early = visits.begin("anna", "film", uploaded(tmp_path, "f"))
    visits.stop_all()
    _, late = visits.begin("ben", "film", uploaded(tmp_path, "f"))
    assert early.is_set() and late.is_set()
