"""Files are read and written whole, whatever else lies in their folder."""

import errno
import os
from pathlib import Path

import pytest

from fsr_deploy._util.files import (
    CannotWrite,
    is_folder,
    place_part,
    read_file,
    replaced_file,
    status,
    write_file,
    write_part,
)
from fsr_deploy.errors import InputError

TOO_LONG = "x" * 300


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def part_of(path: Path) -> Path:
    """Return the temporary file that a killed writer of ``path`` leaves."""
    with replaced_file(path) as temporary:
        return temporary


def test_a_file_and_the_folders_above_it_are_made(tmp_path: Path):
    write_file(tmp_path / "a" / "b" / "c.txt", b"new")
    assert read_file(tmp_path / "a" / "b" / "c.txt") == b"new"
    assert names(tmp_path / "a" / "b") == ["c.txt"]


def test_an_error_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path):
    write_file(tmp_path / "a", b"old")
    with pytest.raises(ZeroDivisionError), replaced_file(tmp_path / "a") as temporary:
        temporary.write_bytes(b"half")
        raise ZeroDivisionError
    assert read_file(tmp_path / "a") == b"old"
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize("flush", [True, False])
def test_what_a_killed_writer_left_goes_away(tmp_path: Path, flush: bool):
    part = part_of(tmp_path / "a")
    part.write_bytes(b"a longer half")
    with replaced_file(tmp_path / "a", flush=flush) as temporary:
        temporary.write_bytes(b"new")
    assert read_file(tmp_path / "a") == b"new"
    assert names(tmp_path) == ["a"]


def test_a_link_in_the_temporary_files_place_is_not_followed(tmp_path: Path):
    (tmp_path / "mine").write_bytes(b"mine")
    (tmp_path / "a").unlink(missing_ok=True)
    part_of(tmp_path / "a").symlink_to("mine")
    write_file(tmp_path / "a", b"new")
    assert read_file(tmp_path / "mine") == b"mine"
    assert not (tmp_path / "a").is_symlink()


def test_a_link_in_the_files_place_is_replaced_and_what_it_leads_to_stays(tmp_path: Path):
    (tmp_path / "mine").write_bytes(b"mine")
    (tmp_path / "a").symlink_to("mine")
    write_file(tmp_path / "a", b"new")
    assert read_file(tmp_path / "mine") == b"mine"
    assert read_file(tmp_path / "a") == b"new"


def test_content_is_on_the_disk_before_it_takes_its_place_unless_that_is_not_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    flushed = []
    monkeypatch.setattr(os, "fsync", lambda handle: flushed.append((tmp_path / "a").exists()))
    write_file(tmp_path / "a", b"")
    assert flushed == [False]
    with replaced_file(tmp_path / "b", flush=False):
        pass
    assert flushed == [False]


@pytest.mark.parametrize(
    ("name", "number"),
    [(TOO_LONG, errno.ENAMETOOLONG), ("folder", errno.EISDIR), ("file/a", errno.ENOTDIR), ("loop/a", errno.ELOOP)],
)
def test_what_cannot_be_written_is_named_with_the_systems_number(tmp_path: Path, name: str, number: int):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(CannotWrite) as caught:
        write_file(tmp_path / name, b"")
    assert str(caught.value) == f"{tmp_path / name}: cannot be written: {os.strerror(number)}"
    assert caught.value.number == number
    assert names(tmp_path) == ["file", "folder", "loop"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("gone", "cannot be read: No such file or directory"),
        ("loop", "cannot be read: Too many levels of symbolic links"),
        (TOO_LONG, "cannot be read: File name too long"),
        ("zero\0byte", "cannot be read: embedded null byte"),
        ("folder", "not a file"),
        ("pipe", "not a file"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, name: str, reason: str):
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError) as caught:
        read_file(tmp_path / name)
    assert str(caught.value) == f"{tmp_path / name}: {reason}"


@pytest.mark.parametrize("name", ["gone", TOO_LONG, "zero\0byte", "loop"])
def test_asking_what_a_path_is_never_raises(tmp_path: Path, name: str):
    (tmp_path / "loop").symlink_to("loop")
    assert status(tmp_path / name) is None
    assert not is_folder(tmp_path / name)


def test_a_part_is_moved_into_its_place_by_somebody_else(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a"
    write_part(path, b"first")
    write_part(path, b"content")
    assert not path.exists()
    place_part(path)
    assert [(one.name, one.read_bytes()) for one in path.parent.iterdir()] == [("a", b"content")]


def test_a_part_that_has_no_place_is_removed(tmp_path: Path) -> None:
    (tmp_path / "a" / "full").mkdir(parents=True)
    write_part(tmp_path / "a", b"content")
    with pytest.raises(CannotWrite, match=r"a: cannot be written"):
        place_part(tmp_path / "a")
    assert [one.name for one in tmp_path.iterdir()] == ["a"]
