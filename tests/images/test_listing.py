import inspect
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from fsr_deploy.errors import InputError
from fsr_deploy.images.codec import encode_frame
from fsr_deploy.images.listing import list_frames

FACE = np.zeros((4, 4, 3), np.uint8)


def fill(folder: Path, **files: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def names(paths: list[Path]) -> list[str]:
    return [path.name for path in paths]


@contextmanager
def without_root() -> Iterator[None]:
    """Drop what lets root read everything."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_frames_are_listed_through_folders_sorted_without_hidden_ones(tmp_path: Path):
    for name in ("b.PNG", "a.jpg", "sub/c.webp", "sub/.hidden.png", ".cache/d.png", "notes.txt", "sub/deep/e.tiff"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    found = [str(p.relative_to(tmp_path)) for p in list_frames(tmp_path).frames]
    assert found == ["a.jpg", "b.PNG", "sub/c.webp", "sub/deep/e.tiff"]


@pytest.mark.parametrize(
    ("name", "suffix"),
    [
        ("photo.jfif", ".jpg"),
        ("photo.jpe", ".jpg"),
        ("photo.jpg_large", ".jpg"),
        ("photo", ".png"),
        ("photo.dat", ".webp"),
        ("photo.1", ".bmp"),
    ],
)
def test_a_picture_is_known_by_its_first_bytes_whatever_its_name(tmp_path: Path, name: str, suffix: str):
    fill(tmp_path, **{name: encode_frame(FACE, suffix)})
    assert names(list_frames(tmp_path).frames) == [name]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("notes.txt", b"BMW and BMX, 64 bytes of text that are no picture at all, whatever they say"),
        ("clip.avi", b"RIFF\x10\0\0\0AVI LIST" + bytes(60)),
        ("raw.nef", encode_frame(FACE, ".tif")),
        ("empty", b""),
    ],
)
def test_what_is_no_picture_is_counted_by_suffix(tmp_path: Path, name: str, content: bytes):
    listing = list_frames(fill(tmp_path, **{"a.png": b"", name: content}))
    assert names(listing.frames) == ["a.png"]
    assert listing.left_out == {Path(name).suffix: 1}


def test_what_is_left_out_is_one_line_that_a_terminal_can_show(tmp_path: Path):
    fill(tmp_path, **{"a.png": b"", "1.mp4": b"", "2.HEIC": b"", "3.heic": b"", "x.\x1b[31m": b"", "LICENCE": b""})
    line = list_frames(tmp_path).left_out_line()
    assert line == "left out, no pictures that can be read: 5 files (.heic 2, .mp4 1, others 2)"
    assert list_frames(fill(tmp_path / "clean", **{"a.png": b""})).left_out_line() is None


def test_links_to_folders_are_followed_and_loops_end(tmp_path: Path):
    fill(tmp_path / "frames", **{"a.png": b""})
    fill(tmp_path / "elsewhere", **{"b.png": b""})
    (tmp_path / "frames" / "loop").symlink_to(tmp_path / "frames")
    (tmp_path / "frames" / "more").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "frames")
    listing = list_frames(tmp_path / "frames")
    assert names(listing.frames) == ["a.png", "b.png"]
    assert listing.failed == []


def test_a_link_to_itself_is_a_named_failure(tmp_path: Path):
    fill(tmp_path, **{"a.png": b""})
    (tmp_path / "x.png").symlink_to("x.png")
    listing = list_frames(tmp_path)
    assert names(listing.frames) == ["a.png"]
    assert listing.failed == [(tmp_path / "x.png", "cannot be read: Too many levels of symbolic links")]


def test_a_pipe_is_not_waited_for(tmp_path: Path):
    fill(tmp_path, **{"a.png": b""})
    os.mkfifo(tmp_path / "pipe")
    assert names(list_frames(tmp_path).frames) == ["a.png"]


def test_a_folder_that_cannot_be_read_is_a_named_failure_and_the_rest_is_listed(tmp_path: Path):
    fill(tmp_path, **{"a.png": b""})
    fill(tmp_path / "z", **{"b.png": b""})
    (tmp_path / "lost+found").mkdir(mode=0)
    for folder in (tmp_path, *tmp_path.parents[:3]):
        folder.chmod(0o755)
    with without_root():
        listing = list_frames(tmp_path)
    assert names(listing.frames) == ["a.png", "b.png"]
    assert listing.failed == [(tmp_path / "lost+found", "cannot be read: Permission denied")]


def test_folders_nested_deeper_than_python_recurses_are_listed(tmp_path: Path):
    deepest = tmp_path
    for _ in range(200):
        deepest /= "d"
        deepest.mkdir()
    (deepest / "a.png").touch()
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack(0)) + 100)
    try:
        assert names(list_frames(tmp_path).frames) == ["a.png"]
    finally:
        sys.setrecursionlimit(limit)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere", "nowhere: no such folder"),
        ("empty", r"empty: no images in it \(PNG, JPEG, WebP, BMP, TIFF, GIF or AVIF\)$"),
        ("file", "file: not a folder"),
        ("other", r"other: no images in it .*; left out, no pictures that can be read: 1 files \(\.heic 1\)$"),
    ],
)
def test_a_folder_without_frames_is_named(tmp_path: Path, name: str, message: str):
    fill(tmp_path / "empty")
    fill(tmp_path / "other", **{"a.heic": b""})
    fill(tmp_path, file=b"")
    with pytest.raises(InputError, match=message):
        list_frames(tmp_path / name)
