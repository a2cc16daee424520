"""A bundle is replaced as a whole or not at all, whatever happens to the writer."""

from __future__ import annotations

import errno
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from fsr_deploy.bundle import publish as staging
from fsr_deploy.bundle.info import read_bundle, write_info
from fsr_deploy.bundle.publish import staged_directory
from fsr_deploy.errors import InputError
from tests.bundle.test_info import INFO

PUBLISH = """
import os, signal, sys
from pathlib import Path
from fsr_deploy.bundle import publish as staging
from tests.bundle.test_publish import publish

def kill(*_):
    os.kill(os.getpid(), signal.SIGKILL)

exec(sys.argv[2])
publish(Path(sys.argv[1]), "new")
"""


def publish(destination: Path, model: str) -> None:
    """Write a bundle of two files that belong together."""
    with staged_directory(destination) as directory:
        (directory / "model.onnx").write_text(model)
        write_info(directory, replace(INFO, model=model))


def published(destination: Path) -> str:
    """Return the name of the model in a bundle, its graph checked to be of the same export."""
    bundle = read_bundle(destination)
    assert bundle.file("model.onnx").read_text() == bundle.info.model
    return bundle.info.model


def names(directory: Path) -> list[str]:
    """Return everything in a directory, hidden entries included."""
    return sorted(path.name for path in directory.iterdir())


@pytest.fixture(params=["exchange", "rename aside"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways of replacing: Linux's exchange, and what is left where the file system has none."""
    if request.param == "rename aside":
        monkeypatch.setattr(staging, "_exchange", lambda one, other: False)
    return request.param


def test_a_bundle_is_published_and_replaced(tmp_path: Path, way: str) -> None:
    for model in ("old", "new"):
        publish(tmp_path / "deep" / "bundle", model)
        assert published(tmp_path / "deep" / "bundle") == model
    assert names(tmp_path / "deep") == ["bundle"]


def test_an_error_while_writing_leaves_the_old_bundle(tmp_path: Path) -> None:
    publish(tmp_path / "bundle", "old")
    with pytest.raises(ZeroDivisionError), staged_directory(tmp_path / "bundle") as directory:
        (directory / "model.onnx").write_text("half")
        raise ZeroDivisionError
    assert published(tmp_path / "bundle") == "old"
    assert names(tmp_path) == ["bundle"]


@pytest.mark.parametrize(
    ("moment", "left"),
    [
        ("staging._fsync = kill", "old"),
        ("staging._put = kill", "old"),
        ("put = staging._put; staging._put = lambda *a: (put(*a), kill())", "new"),
        ("import filelock; staging.shutil.rmtree = kill", "old"),
    ],
    ids=["while flushing", "before the exchange", "after the exchange", "while clearing"],
)
def test_a_killed_writer_leaves_one_whole_bundle_and_the_next_clears_up(tmp_path: Path, moment: str, left: str) -> None:
    destination = tmp_path / "bundle"
    publish(destination, "old")
    if "rmtree" in moment:  # something must be there to clear
        (tmp_path / ".bundle.fsr-export" / "new").mkdir(parents=True)
    done = subprocess.run([sys.executable, "-c", PUBLISH, destination, moment], check=False)
    assert done.returncode == -signal.SIGKILL
    assert published(destination) == left
    publish(destination, "newest")
    assert published(destination) == "newest"
    assert names(tmp_path) == ["bundle"]


def test_a_writer_killed_between_two_renames_loses_nothing(tmp_path: Path) -> None:
    """Without an exchange there is a moment with no bundle; the next run puts the old one back."""
    destination = tmp_path / "bundle"
    publish(destination, "old")
    script = (
        "staging._exchange = lambda *_: False\n"
        "rename = Path.rename\n"
        "Path.rename = lambda one, other: kill() if other.name == 'bundle' else rename(one, other)"
    )
    subprocess.run([sys.executable, "-c", PUBLISH, destination, script], check=False)
    assert not destination.exists()
    with pytest.raises(ZeroDivisionError), staged_directory(destination):
        raise ZeroDivisionError
    assert published(destination) == "old"


def test_a_reader_always_finds_a_description(tmp_path: Path) -> None:
    destination = tmp_path / "bundle"
    publish(destination, "old")
    script = (
        "import time\n"
        "rename = Path.rename\n"  # a pause after every rename: were there two, a reader would see between them
        "Path.rename = lambda one, other: (rename(one, other), time.sleep(0.02))\n"
        "publish, again = (lambda *a: [again(*a) for _ in range(40)]), publish"
    )
    writer = subprocess.Popen([sys.executable, "-c", PUBLISH, destination, script])
    seen = set()
    while writer.poll() is None:
        seen.add(read_bundle(destination).info.model)
    assert writer.returncode == 0
    assert published(destination) == "new"
    assert seen <= {"old", "new"}


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    destination = tmp_path / "bundle"
    with staged_directory(destination) as directory:
        with pytest.raises(InputError) as error:
            publish(destination, "second")
        assert str(error.value) == f"{destination}: another export is writing it; wait for that one to end"
        (directory / "model.onnx").write_text("first")
        write_info(directory, replace(INFO, model="first"))
    assert published(destination) == "first"


def test_without_locks_a_bundle_is_published_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", no_locks)
    for model in ("old", "new"):
        publish(tmp_path / "bundle", model)
        assert published(tmp_path / "bundle") == model
        assert "this file system has no locks" in capsys.readouterr().err
    assert names(tmp_path) == ["bundle"]


def test_a_link_in_the_workplaces_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "photos" / "old").mkdir(parents=True)
    (tmp_path / ".bundle.fsr-export").symlink_to("photos")
    publish(tmp_path / "bundle", "new")
    assert published(tmp_path / "bundle") == "new"
    assert names(tmp_path) == ["bundle", "photos"] and names(tmp_path / "photos") == ["old"]


def test_a_link_to_itself_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "bundle").symlink_to("bundle")
    with pytest.raises(InputError, match=r"inside: cannot be written: Too many levels of symbolic links"):
        publish(tmp_path / "bundle" / "inside", "new")


def test_a_folder_of_other_things_is_refused_untouched(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "anna.jpg").touch()
    with pytest.raises(InputError) as error:
        publish(tmp_path / "photos", "new")
    assert str(error.value) == f"{tmp_path / 'photos'}: not empty and not a bundle; name another directory with -o"
    assert names(tmp_path) == ["photos"]


def test_a_bundle_that_holds_something_else_too_is_refused(tmp_path: Path) -> None:
    publish(tmp_path / "bundle", "old")
    (tmp_path / "bundle" / "notes.txt").write_text("which weights worked")
    with pytest.raises(InputError, match=r"holds files that no export wrote and that would be lost \(notes\.txt\)"):
        publish(tmp_path / "bundle", "new")
    assert published(tmp_path / "bundle") == "old"


def test_a_damaged_bundle_may_be_replaced(tmp_path: Path) -> None:
    publish(tmp_path / "bundle", "old")
    (tmp_path / "bundle" / "bundle.json").write_text("{")
    for name in ("engine.plan", "reference.npz", "report.html", "parity.png", "layers.json"):
        (tmp_path / "bundle" / name).touch()
    publish(tmp_path / "bundle", "new")
    assert published(tmp_path / "bundle") == "new"


def test_an_empty_directory_is_taken(tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    publish(tmp_path / "bundle", "new")
    assert published(tmp_path / "bundle") == "new"


def test_a_link_to_a_bundle_stays_a_link(tmp_path: Path) -> None:
    publish(tmp_path / "v1", "old")
    (tmp_path / "current").symlink_to("v1")
    publish(tmp_path / "current", "new")
    assert (tmp_path / "current").is_symlink() and published(tmp_path / "v1") == "new"


def test_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bundle").touch()
    with pytest.raises(InputError, match=r"bundle: a file; name a directory with -o"):
        publish(tmp_path / "bundle", "new")
    with pytest.raises(InputError, match="cannot be written: Not a directory"):
        publish(tmp_path / "bundle" / "inside", "new")


def test_the_current_directory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(tmp_path / "bundle", "old")
    monkeypatch.chdir(tmp_path / "bundle")
    with pytest.raises(InputError, match="the current directory is in it"):
        publish(Path(), "new")


def test_a_full_disk_is_a_clear_error_and_leaves_the_old_bundle(tmp_path: Path) -> None:
    publish(tmp_path / "bundle", "old")
    with pytest.raises(InputError) as error, staged_directory(tmp_path / "bundle"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert str(error.value) == f"{tmp_path / 'bundle'}: cannot be written: No space left on device"
    assert published(tmp_path / "bundle") == "old"
