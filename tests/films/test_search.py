"""The search of a film for faces: steady over time, kept in the journal, and never begun for a run that cannot end."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fsr_deploy.faces.face import Face
from fsr_deploy.films import whole_frames
from fsr_deploy.films.survey import Film, survey
from fsr_deploy.films.whole_frames import Faces, find_faces
from fsr_deploy.runtime.folder.journal import NAME, Journal
from tests.cli.runs import error, fsr_run, succeed
from tests.engines import write_onnx
from tests.faces.detectors import write_centerface
from tests.films.drawn import draw
from tests.films.test_whole_frames import LOSSLESS, planes

# Grey levels, as a film holds them: in dark frames no face is found, and a new scene begins with the black one.
LEVELS = [90, 90, 60, 90, 90, 0, 60, 90, 90, 90]
FACES = {0, 1, 2, 3, 4, 7, 8, 9}


class Corner:
    """Finds a face at the upper left that moves with time, but not in dark frames; counts the frames it was given."""

    title, sha256, device = "Corner", "0" * 64, "cpu"

    def __init__(self, stop: threading.Event | None = None, most: int = 99) -> None:
        self.count, self._stop, self._most = 0, stop, most

    def find(self, frame: Any) -> tuple[Face, ...]:
        self.count += 1
        if self.count == self._most and self._stop:
            self._stop.set()
        return (Face(5.1, 5.3, 20 + frame.mean() / 7, 20, None, 0.9),) if frame.mean() > 60 else ()


@pytest.fixture
def film(tmp_path: Path) -> Film:
    frames = [[np.full((40, 40), level, np.uint8) for level in (luma, 128, 128)] for luma in LEVELS]
    return survey(draw(tmp_path / "film.mkv", frames, range(0, 40 * len(LEVELS), 40), codec="ffv1"))


def find(film: Film, folder: Path, corner: Corner, stop: threading.Event | None = None, **options: bool) -> Faces:
    with closing(Journal(folder)) as journal:
        return find_faces(film, corner, None, journal, stop or threading.Event(), **options)  # type: ignore[arg-type]


def test_faces_are_steady_until_a_new_scene_begins(film: Film, tmp_path: Path) -> None:
    found = find(film, tmp_path / "out", Corner())
    assert set(found) == FACES, "put in between where it was missed, but not from one scene to the next"
    assert found[2][0].score is None and found[2][0].w == pytest.approx(found[1][0].w)


@pytest.mark.parametrize("together", [1, 2, 48])
@pytest.mark.parametrize("most", range(1, len(LEVELS) + 1))
def test_a_search_that_is_stopped_goes_on_where_it_was(
    film: Film, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int, together: int
) -> None:
    """Whichever frame is the last one: also the one before a new scene."""
    whole = find(film, tmp_path / "whole", Corner())
    monkeypatch.setattr(whole_frames, "NOTED_TOGETHER", together)
    stop = threading.Event()
    find(film, tmp_path / "out", Corner(stop, most), stop)
    again = Corner()
    assert find(film, tmp_path / "out", again) == whole
    assert again.count == len(LEVELS) - most


def test_what_a_killed_search_had_noted_is_not_searched_again(
    film: Film, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(Corner):
        def find(self, frame: Any) -> tuple[Face, ...]:
            if self.count == 7:
                raise KeyboardInterrupt  # nothing that is done at the end of a search is done
            return super().find(frame)

    monkeypatch.setattr(whole_frames, "NOTED_TOGETHER", 3)
    with pytest.raises(KeyboardInterrupt):
        find(film, tmp_path / "out", Killed())
    with (tmp_path / "out" / NAME).open("ab") as stream:
        stream.write(b'{"search": "a line that was cut o')
    again = Corner()
    assert set(find(film, tmp_path / "out", again)) == FACES
    assert again.count == len(LEVELS) - 6


def no_frames(*given: Any, **options: Any) -> Iterator[Any]:
    raise AssertionError("the film was decoded")


def test_a_finished_search_is_not_repeated_unless_asked_for(
    film: Film, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = find(film, tmp_path / "out", Corner())
    again = Corner()
    assert find(film, tmp_path / "out", again, resume=False) == whole and again.count == len(LEVELS)
    other = Corner()
    other.sha256 = "1" * 64
    find(film, tmp_path / "out", other)
    assert other.count == len(LEVELS), "another detector"
    monkeypatch.setattr(whole_frames, "Frames", no_frames)
    assert find(film, tmp_path / "out", Corner()) == whole


@pytest.mark.parametrize(
    "spoil",
    [
        lambda row: row.__setitem__(2, [[1, 1, -3, 9, 0.5, None]]),
        lambda row: row.__setitem__(2, [[1, 1, "3", 9, 0.5, None]]),
        lambda row: row.__setitem__(1, "yes"),
        lambda row: row.__setitem__(0, 99),
        lambda row: row.__setitem__(0, -1),
        lambda row: row.append(1),
        lambda row: row.clear(),
    ],
    ids=["no area", "no number", "no truth", "no frame of the film", "none before it", "too long", "empty"],
)
def test_a_frame_whose_faces_make_no_sense_is_searched_again(
    film: Film, tmp_path: Path, spoil: Callable[[list[Any]], None]
) -> None:
    whole = find(film, tmp_path / "out", Corner())
    path = tmp_path / "out" / NAME
    line = json.loads(path.read_text())
    spoil(line["found"][4])
    path.write_text(json.dumps(line) + "\n")
    again = Corner()
    assert find(film, tmp_path / "out", again) == whole
    assert again.count == 1


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an engine, a detector and a film; it is the current one, and nothing may be searched in it."""
    monkeypatch.chdir(tmp_path)
    write_onnx(Path("model.onnx"), lr_size=8, scale=8)
    write_centerface(Path("detector.onnx"))
    draw(Path("film.mkv"), [planes(index) for index in range(4)], range(0, 160, 40), codec="ffv1")
    return tmp_path


RUN = ("model.onnx", "film.mkv", "--find-faces", "detector.onnx")


def test_a_second_run_searches_nothing_and_finds_its_film_done(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    succeed(*RUN, *LOSSLESS, "-o", "new.mkv")
    succeed(*RUN, "--faces-only")
    monkeypatch.setattr(whole_frames, "Frames", no_frames)
    assert "new.mkv: 0 done, 4 done before of 4" in succeed(*RUN, *LOSSLESS, "-o", "new.mkv").stderr
    assert "film_faces: 0 done, 4 done before of 4" in succeed(*RUN, "--faces-only").stderr


@pytest.mark.parametrize(
    ("options", "code", "sentence"),
    [
        (("-o", "mine.mkv"), 4, "mine.mkv: already exists; name another output with -o, or add --overwrite"),
        (("-o", "film.mkv"), 2, "film.mkv: is the film itself; name another output with -o"),
        (("-o", "new.mkv", "--pix-fmt", "yuv420p12le"), 2, "--codec libx264 does not take --pix-fmt yuv420p12le"),
        (("-o", "new.webm"), 2, "webm"),
        (("-o", "mine", "--faces-only"), 4, "mine: files that no fsr-run wrote, or that were changed since"),
    ],
)
def test_what_would_end_the_run_is_told_before_the_search(
    here: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], code: int, sentence: str
) -> None:
    Path("mine").mkdir()
    mine = [Path("mine.mkv"), Path("mine/frame_000001_face_0.png")]
    for path in mine:
        path.write_bytes(b"mine")
    before = sorted(here.rglob("*"))
    monkeypatch.setattr(whole_frames, "Frames", no_frames)
    result = fsr_run(*RUN, *options)
    assert result.exit_code == code and sentence in error(result), error(result)
    assert all(path.read_bytes() == b"mine" for path in mine)
    assert sorted(here.rglob("*")) == before


def test_a_film_that_would_be_too_large_is_told_before_the_search(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whole_frames, "Frames", no_frames)
    monkeypatch.setattr("fsr_deploy.faces.restorer.MAX_PIXELS", 100)
    result = fsr_run(*RUN)
    assert result.exit_code == 4 and "enlarged 4 times it has 384x256 pixels, over the limit" in error(result)
