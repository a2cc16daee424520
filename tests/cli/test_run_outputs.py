"""Where fsr-run writes, what it leaves alone, and which errors end a run."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fsr_deploy.images.codec import encode_frame, read_frame, write_frame
from tests.cli.runs import COUNT, contents, error, fsr_run, succeed, without_root

FORMATS = ".png, .jpg, .jpeg, .webp, .bmp, .tif, .tiff"


def frames_of(result) -> dict[str, int]:
    """Return the counts of a run that was called with --json."""
    return json.loads(result.stdout)["frames"]


# -o is a wall.


def test_a_listed_path_with_dots_stays_below_the_output(here: Path, monkeypatch: pytest.MonkeyPatch):
    write_frame("b/x.png", read_frame("faces/00.png"))
    Path("b/x.jpg").write_bytes(b"mine")
    monkeypatch.chdir("faces")
    succeed("../model.onnx", "-", "-o", "../out", "--format", "jpg", stdin="../b/x.png\n00.png\n")
    assert Path("../b/x.jpg").read_bytes() == b"mine"
    assert set(contents("../out")) == {"b/x.jpg", "faces/00.jpg"}


def test_one_frame_under_two_names_is_done_once(here: Path):
    listed = "faces/00.png\nfaces/sub/../00.png\n./faces//00.png\nfaces/00.png\n"
    assert frames_of(succeed("model.onnx", "-", "-o", "out", "--json", stdin=listed))["total"] == 1
    assert set(contents("out")) == {"00.png"}


@pytest.mark.parametrize("leads_to", ["../away", "../nowhere"])
def test_a_link_out_of_the_output_is_refused_before_anything_is_written(here: Path, leads_to: str):
    Path("out").mkdir()
    Path("away").mkdir()
    Path("out/sub").symlink_to(leads_to)
    result = fsr_run("model.onnx", "faces", "-o", "out")
    assert result.exit_code == 4
    where = here / Path(leads_to).name
    assert error(result) == f"out/sub: leads out of out, to {where}; remove that link or name another -o"
    assert contents("out") == contents("away") == {}
    assert not where.with_name("nowhere").exists()


def test_links_inside_the_output_and_to_it_are_followed(here: Path):
    Path("disk/other").mkdir(parents=True)
    Path("out").symlink_to("disk")
    Path("disk/sub").symlink_to("other")
    succeed("model.onnx", "faces", "-o", "out")
    assert len(contents("disk/other")) == 8


def test_a_journal_that_is_a_link_is_not_followed(here: Path):
    Path("out").mkdir()
    Path("mine").write_bytes(b"mine")
    Path("out/.fsr-run.jsonl").symlink_to("../mine")
    result = fsr_run("model.onnx", "faces", "-o", "out")
    assert result.exit_code == 4
    assert error(result) == "out/.fsr-run.jsonl: cannot be written: Too many levels of symbolic links"
    assert Path("mine").read_bytes() == b"mine"


# Nobody's file is replaced.


def test_files_that_no_run_wrote_are_left_alone_unless_that_is_asked_for(here: Path):
    shutil.copytree("faces", "hr")
    before = contents("hr")
    result = fsr_run("model.onnx", "faces", "-o", "hr")
    assert result.exit_code == 4
    assert error(result) == (
        f"hr: files that no fsr-run wrote, or that were changed since, would be replaced: {COUNT}, the first is"
        " hr/00.png; name another folder with -o, or add --overwrite"
    )
    assert contents("hr") == before
    assert not list(Path("hr").glob(".*"))
    assert frames_of(succeed("model.onnx", "faces", "-o", "hr", "--overwrite", "--json"))["done"] == COUNT
    assert frames_of(succeed("model.onnx", "faces", "-o", "hr", "--json"))["done_before"] == COUNT


@pytest.mark.parametrize("again", [(), ("--no-resume",)])
def test_an_output_that_the_user_changed_is_the_users(here: Path, again: tuple[str, ...]):
    succeed("model.onnx", "faces", "-o", "out")
    before = contents("out")
    Path("out/03.png").write_bytes(b"touched up")
    result = fsr_run("model.onnx", "faces", "-o", "out", *again)
    assert result.exit_code == 4
    assert "would be replaced: 1, the first is out/03.png" in error(result)
    assert Path("out/03.png").read_bytes() == b"touched up"
    result = succeed("model.onnx", "faces", "-o", "out", "--overwrite", "--json")
    assert (frames_of(result)["done"], frames_of(result)["done_before"]) == (1, COUNT - 1)
    assert contents("out") == before


@pytest.mark.parametrize("output", ["big.png", "folder", None])
def test_a_single_image_replaces_no_file_either(here: Path, output: str | None):
    arguments = ["model.onnx", "faces/00.png", *(("-o", output) if output else ())]
    target = {"big.png": "big.png", "folder": "folder/00.png", None: "faces/00_sr.png"}[output]
    succeed(*arguments)
    before = Path(target).read_bytes()
    Path(target).write_bytes(b"mine")
    result = fsr_run(*arguments)
    assert (error(result), result.exit_code) == (
        f"{target}: already exists; name another output with -o, or add --overwrite",
        4,
    )
    assert Path(target).read_bytes() == b"mine"
    succeed(*arguments, "--overwrite")
    assert Path(target).read_bytes() == before


def test_a_link_in_an_outputs_place_is_nobodys_to_replace(here: Path):
    Path("out").mkdir()
    Path("mine.png").write_bytes(b"mine")
    Path("out/00.png").symlink_to("../mine.png")
    assert "the first is out/00.png" in error(fsr_run("model.onnx", "faces", "-o", "out"))
    succeed("model.onnx", "faces", "-o", "out", "--overwrite")
    assert Path("mine.png").read_bytes() == b"mine"
    assert not Path("out/00.png").is_symlink()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("faces/00.png", "-o", "face.gif"), f"face.gif: .gif is no format that can be written; use one of {FORMATS}"),
        (("faces/00.png", "-o", "f.AVIF"), f"f.AVIF: .avif is no format that can be written; use one of {FORMATS}"),
        (("faces/00.png", "-o", "f.jfif"), f"f.jfif: .jfif is no format that can be written; use one of {FORMATS}"),
        (("faces", "-o", "clip.mp4"), f"clip.mp4: .mp4 is no format that can be written; use one of {FORMATS}"),
        (
            ("faces", "-o", "result.png"),
            "result.png: the name of one image; the outputs need a folder, name one with -o",
        ),
        (("-", "-o", "all.jpg"), "all.jpg: the name of one image; the outputs need a folder, name one with -o"),
        (("faces", "-o", "-"), "-o -: nothing is written to standard output; name a folder or an image file"),
        (("faces/00.png", "-o", "-"), "-o -: nothing is written to standard output; name a folder or an image file"),
    ],
)
def test_an_output_that_looks_like_what_cannot_be_written_makes_no_folder_of_that_name(
    here: Path, arguments: tuple[str, ...], message: str
):
    result = fsr_run("model.onnx", *arguments, stdin="faces/00.png\n")
    assert (error(result), result.exit_code) == (message, 2)
    assert sorted(path.name for path in here.iterdir()) == ["faces", "model.onnx"]


def test_a_folder_may_be_called_as_an_image_is(here: Path):
    Path("old.png").mkdir()
    succeed("model.onnx", "faces", "-o", "old.png")
    assert len(contents("old.png")) == COUNT


# One bad thing does not end the job.


def test_an_output_that_cannot_be_written_is_skipped_and_the_rest_is_done(here: Path):
    Path("out/03.png").mkdir(parents=True)
    for suffix in ("png", "jpg"):
        write_frame(f"faces/{'y' * 249}.{suffix}", read_frame("faces/00.png"))
    for _ in range(2):
        result = fsr_run("model.onnx", "faces", "-o", "out", "--format", "png", "--json")
        assert result.exit_code == 6
        assert "skipped: out/03.png: cannot be written: Is a directory" in result.stderr
        assert f"{'y' * 249}.png.png: cannot be written: File name too long" in result.stderr
        assert frames_of(result)["failed"] == 3
        assert {failure["frame"] for failure in json.loads(result.stdout)["failures"]} == {
            "faces/03.png",
            f"faces/{'y' * 249}.jpg",
            f"faces/{'y' * 249}.png",
        }
        assert len(contents("out")) == COUNT - 1


def test_a_part_of_the_frames_that_cannot_be_read_is_skipped_and_counted(here: Path):
    Path("faces/lost+found").mkdir(mode=0)
    Path("faces/loop.png").symlink_to("loop.png")
    Path("out").mkdir()
    Path("out").chmod(0o777)
    with without_root(here):
        result = fsr_run("model.onnx", "faces", "-o", "out", "--json")
        stopped = fsr_run("model.onnx", "faces", "-o", "out", "--on-error", "stop")
    assert result.exit_code == 6
    assert "skipped: faces/lost+found: cannot be read: Permission denied" in result.stderr
    assert "skipped: faces/loop.png: cannot be read: Too many levels of symbolic links" in result.stderr
    counts = frames_of(result)
    assert (counts["total"], counts["done"], counts["failed"], counts["left"]) == (COUNT + 2, COUNT, 2, 0)
    assert stopped.exit_code == 4
    assert "cannot be read" in error(stopped)


def test_a_sub_folder_without_permission_costs_its_frames_only(here: Path):
    Path("out/sub").mkdir(parents=True)
    Path("out").chmod(0o777)
    Path("out/sub").chmod(0o555)
    with without_root(here):
        result = fsr_run("model.onnx", "faces", "-o", "out", "--json")
    assert result.exit_code == 6
    assert "skipped: out/sub/01.png: cannot be written: Permission denied" in result.stderr
    assert (frames_of(result)["done"], frames_of(result)["failed"]) == (4, 8)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("model.onnx", "locked", "-o", "out"), "locked: cannot be read: Permission denied"),
        (("model.onnx", "faces", "-o", "locked/out"), "locked/out: cannot be written: Permission denied"),
        (("model.onnx", "faces", "-o", "readonly"), "readonly: cannot be written: Permission denied"),
        (("model.onnx", "locked/a.png"), "locked/a.png: cannot be read: Permission denied"),
    ],
)
def test_a_folder_without_permission_is_named(here: Path, arguments: tuple[str, ...], message: str):
    Path("locked").mkdir(mode=0)
    Path("readonly").mkdir(mode=0o555)
    with without_root(here):
        result = fsr_run(*arguments)
    assert (error(result), result.exit_code) == (message, 4)


def test_a_full_disk_ends_the_run_with_nothing_half_written(here: Path):
    """The limit on a file's size stands in for the disk: both fail in the middle of a write."""
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000));"
        "from fsr_deploy.cli.run import main; main()"
    )
    arguments = ("model.onnx", "faces", "-o", "out", "--format", "bmp")
    result = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert result.returncode == 4
    assert "00.bmp: cannot be written: File too large" in result.stderr
    assert contents("out") == {}


# What is taken for a picture, and what is told of the rest.


def test_what_is_left_out_is_counted_by_suffix(here: Path):
    for name in ("a.jp2", "b.heic", "c.heic", "clip.mp4"):
        Path("faces", name).write_bytes(b"")
    result = succeed("model.onnx", "faces", "-o", "out", "--json")
    line = "left out, no pictures that can be read: 4 files (.heic 2, .jp2 1, .mp4 1)"
    assert result.stderr.splitlines().count(line) == 1
    assert json.loads(result.stdout)["left_out"] == {".jp2": 1, ".heic": 2, ".mp4": 1}


def test_jpegs_of_other_names_are_written_as_jpegs_and_files_without_a_suffix_as_pngs(here: Path):
    for name in ("a.jfif", "b.JPE", "c.jpg", "c.jfif", "noext"):
        Path("photos").mkdir(exist_ok=True)
        Path("photos", name).write_bytes(encode_frame(read_frame("faces/00.png"), ".jpg"))
    succeed("model.onnx", "photos", "-o", "out")
    assert set(contents("out")) == {"a.jpg", "b.jpg", "c.jpg.jpg", "c.jfif.jpg", "noext.png"}
