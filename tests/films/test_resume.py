"""A run over a film goes on where it was ended, and the new film is the same, packet for packet."""

from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from fsr_deploy.errors import InputError
from fsr_deploy.films import segments
from fsr_deploy.films.colour import Pixels
from fsr_deploy.films.encoder import Choice
from fsr_deploy.films.run import FilmSettings, restore_film
from fsr_deploy.films.segments import folder_of, segment_path
from fsr_deploy.films.survey import survey
from tests.cli.runs import without_root
from tests.films.drawn import COUNT, UNEVEN, Nearest, draw, packets_of, restore

LENGTH = 4
CHOICE = Choice("libx264", 20)
# What a killed run is: a process of its own with short segments and an engine that takes its time.
SCRIPT = f"""
import sys, time
from pathlib import Path
from fsr_deploy.films import segments
from fsr_deploy.films.encoder import Choice
from fsr_deploy.films.run import FilmSettings, restore_film
from fsr_deploy.films.survey import survey
from tests.films.drawn import Nearest

class Slow(Nearest):
    def restore(self, frames, first):
        time.sleep(0.01)
        return super().restore(frames, first)

segments.LENGTH = {LENGTH}
print("ready", flush=True)
restore_film(survey(Path("film.mkv")), Path("new.mkv"), Slow(2), FilmSettings(Choice("libx264", 20)))
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a film and ``undisturbed.mkv``, in which segments are short."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, [*filter(None, sys.path), Path(__file__).parents[2]])))
    monkeypatch.setattr(segments, "LENGTH", LENGTH)
    draw(Path("film.mkv"), times=UNEVEN, sounds=1)
    restore(Path("film.mkv"), Path("undisturbed.mkv"), 2, CHOICE)
    return tmp_path


def same() -> bool:
    """Tell whether the new film has the packets of the undisturbed one, and its bytes."""
    new, old = Path("new.mkv"), Path("undisturbed.mkv")
    equal = all(packets_of(new, kind) == packets_of(old, kind) for kind in ("video", "audio"))
    return equal and new.read_bytes() == old.read_bytes()


def kill_at_random_moments(count: int, seed: int) -> None:
    generator = random.Random(seed)
    for _ in range(count):
        process = subprocess.Popen([sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        time.sleep(generator.uniform(0, 0.2))
        process.kill()
        process.communicate()
        assert not Path("new.mkv").exists() or same()
        if generator.random() < 0.3:
            Path("new.mkv").unlink(missing_ok=True)
    summary = restore(Path("film.mkv"), Path("new.mkv"), 2, CHOICE)
    assert summary.done + summary.already_done == COUNT
    assert same()


def test_killed_at_three_moments_and_run_again_the_packets_are_the_same(here: Path) -> None:
    kill_at_random_moments(3, seed=1)


@pytest.mark.integration
def test_killed_at_25_moments_and_run_again_the_packets_are_the_same(here: Path) -> None:
    for seed in range(5):
        kill_at_random_moments(5, seed)
        Path("new.mkv").unlink()


@pytest.mark.parametrize("moment", ["before", "after"])
def test_killed_while_the_film_takes_its_place_the_next_run_knows_it(here: Path, moment: str) -> None:
    code = (
        "import os, signal; from pathlib import Path; replace = Path.replace\n"
        "def killed(path, target):\n"
        "    if Path(target).name != 'new.mkv':\n"
        "        return replace(path, target)\n"
        f"    {'replace(path, target)' if moment == 'after' else 'pass'}\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "Path.replace = killed\n"
    )
    done = subprocess.run([sys.executable, "-c", code + SCRIPT], check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL
    assert Path("new.mkv").exists() == (moment == "after")
    summary = restore(Path("film.mkv"), Path("new.mkv"), 2, CHOICE)
    assert summary.already_done == COUNT
    assert same()
    assert [path.name for path in folder_of(Path("new.mkv")).glob("segment_*")] == []


class Stops(Nearest):
    """Sets ``stop`` at a batch."""

    def __init__(self, stop: threading.Event, at: int) -> None:
        super().__init__(2)
        self._stop, self._at = stop, at

    def restore(self, frames: Sequence[Pixels], first: int) -> list[Pixels]:
        if first >= self._at:
            self._stop.set()
        return super().restore(frames, first)


def run(restorer: Any, stop: threading.Event | None = None, **settings: Any) -> Any:
    film = survey(Path("film.mkv"))
    return restore_film(film, Path("new.mkv"), restorer, FilmSettings(CHOICE, **settings), stop)


def test_a_run_that_is_stopped_keeps_whole_segments(here: Path) -> None:
    stop = threading.Event()
    summary = run(Stops(stop, 9), stop)
    assert summary.stopped
    assert summary.done % LENGTH == 0
    assert summary.done + summary.left == COUNT
    assert not Path("new.mkv").exists()
    again = Nearest(2)
    finished = run(again)
    assert finished.already_done == summary.done
    assert min(first for first, _ in again.firsts) == summary.done
    assert same()


def spoil(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize(
    "change",
    [
        lambda: segment_path(Path("new.mkv"), 0).unlink(),
        lambda: spoil(segment_path(Path("new.mkv"), 0)),
        lambda: spoil(folder_of(Path("new.mkv")) / ".fsr-run.jsonl"),
        lambda: (folder_of(Path("new.mkv")) / ".fsr-run.jsonl").write_bytes(b"\xff\0{[" * 100),
    ],
    ids=["a segment lost", "a segment cut off", "the journal cut off", "the journal overwritten"],
)
def test_what_happened_to_segments_meanwhile_is_made_again(here: Path, change: Callable[[], object]) -> None:
    stop = threading.Event()
    assert run(Stops(stop, 12), stop).done >= LENGTH
    change()
    run(Nearest(2))
    assert same()


def test_done_before_is_told_and_other_settings_make_the_film_again(here: Path) -> None:
    assert run(Nearest(2)).done == COUNT
    assert (run(Nearest(2)).done, run(Nearest(2)).already_done) == (0, COUNT)
    assert run(Nearest(2), resume=False).done == COUNT
    assert run(Nearest(3)).done == COUNT  # its own film is replaced without --overwrite
    Path("new.mkv").write_bytes(b"mine")
    with pytest.raises(Exception, match="already exists"):
        run(Nearest(3))


def test_batches_are_the_same_after_a_stop(here: Path) -> None:
    whole = Nearest(2, batch=3)
    run(whole)
    assert sorted(whole.firsts) == [
        (first, count) for at in range(0, COUNT, 4) for first, count in ((at, 3), (at + 3, 1))
    ]


@pytest.mark.parametrize("room", ["for no segment", "for segments only"])
def test_a_full_disk_is_one_sentence_and_the_run_goes_on_when_there_is_room(here: Path, room: str) -> None:
    limit = 200 if room == "for no segment" else Path("undisturbed.mkv").stat().st_size - 100
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        with pytest.raises(InputError, match="cannot be written: File too large"):
            run(Nearest(2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not Path("new.mkv").exists()
    assert list(here.glob(".*.part")) == []
    assert run(Nearest(2)).already_done == (COUNT if room == "for segments only" else 0)
    assert same()


def test_a_folder_that_cannot_be_written_is_named_before_anything_is_done(here: Path) -> None:
    film = survey(Path("film.mkv"))
    here.chmod(0o555)
    restorer = Nearest(2)
    with without_root(here), pytest.raises(InputError, match="cannot be written: Permission denied"):
        restore_film(film, Path("new.mkv"), restorer, FilmSettings(CHOICE))
    here.chmod(0o755)
    assert restorer.firsts == []


def test_only_one_run_writes_a_film(here: Path) -> None:
    journal = segments.FilmJournal(folder_of(Path("new.mkv")))
    with pytest.raises(Exception, match="another fsr-run is writing here"):
        run(Nearest(2))
    journal.close()
    run(Nearest(2))
    assert same()
