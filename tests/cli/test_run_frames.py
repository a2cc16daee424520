"""fsr-run over whole frames: where the faces come from, what is written, what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from fsr_deploy.faces.boxes import read_boxes
from fsr_deploy.faces.cutting import cut
from fsr_deploy.faces.face import Face
from fsr_deploy.faces.geometry import region_of
from fsr_deploy.faces.pasting import enlarge
from fsr_deploy.images.codec import read_frame, write_frame
from tests.cli.runs import contents, error, fsr_run, succeed
from tests.engines import repeat_pixels, write_onnx
from tests.faces.detectors import write_centerface
from tests.faces.scenes import hills

BOXES = "file,x,y,w,h\na.png,20,10,15,15\na.png,50,20,10,12\nsub/b.png,3,4,9,9\n"
SIZES = {"a.png": (60, 90), "sub/b.png": (40, 50), "c.png": (30, 20)}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an engine, three frames, and boxes for two of them; it is the current one."""
    monkeypatch.chdir(tmp_path)
    write_onnx(Path("model.onnx"))
    for name, (height, width) in SIZES.items():
        write_frame(Path("frames") / name, hills(height, width))
    Path("boxes.csv").write_text(BOXES)
    return tmp_path


def test_frames_are_enlarged_and_faces_upscaled_where_the_file_has_them(here: Path) -> None:
    result = succeed("model.onnx", "frames", "--boxes", "boxes.csv", "-o", "out")
    assert "faces: 3 upscaled, none in 1 of the frames" in result.stderr and "frames/s end to end" in result.stderr
    assert set(contents("out")) == set(SIZES)
    for name in SIZES:
        frame, done = read_frame(Path("frames") / name), read_frame(Path("out") / name)
        assert done.shape == (4 * frame.shape[0], 4 * frame.shape[1], 3)
        faces = read_boxes("boxes.csv").names.get(name, ())
        inside = np.zeros(done.shape[:2], bool)
        for face in faces:
            left, top, right, bottom = (4 * edge for edge in region_of(face, (4, 4)).bounds())
            inside[max(0, top) : bottom, max(0, left) : right] = True
        same = (done == enlarge(frame, 4)).all(-1)
        assert same[~inside].all() and (not faces or not same[inside].all())


def test_only_the_faces_are_written_where_only_they_are_wanted(here: Path) -> None:
    succeed("model.onnx", "frames", "--boxes", "boxes.csv", "-o", "out", "--faces-only", "--batch", 2)
    assert set(contents("out")) == {"a_face_0.png", "a_face_1.png", "sub/b_face_0.png"}
    for number, face in enumerate(read_boxes("boxes.csv").names["a.png"]):
        lr = cut(read_frame("frames/a.png"), region_of(face, (4, 4)), (4, 4))
        assert np.array_equal(read_frame(f"out/a_face_{number}.png"), repeat_pixels(lr[None])[0])
    Path("boxes.csv").write_text(BOXES.replace("a.png,20,10,15,15\n", ""))
    again = succeed("model.onnx", "frames", "--boxes", "boxes.csv", "-o", "out", "--faces-only", "--batch", 2)
    assert "1 done, 2 done before of 3" in again.stderr
    assert set(contents("out")) == {"a_face_0.png", "sub/b_face_0.png"}, "a face that is none any more is removed"


def test_one_picture_and_a_list_take_their_boxes_by_name(here: Path) -> None:
    succeed("model.onnx", "frames", "--boxes", "boxes.csv", "-o", "out")
    succeed("model.onnx", "frames/sub/b.png", "--boxes", "boxes.csv", "-o", "b_sr.png")
    Path("names.csv").write_text(BOXES.replace("sub/", ""))
    succeed("model.onnx", "-", "--boxes", "names.csv", "-o", "listed", stdin="frames/a.png\nframes/sub/b.png\n")
    for one, other in (("b_sr.png", "sub/b.png"), ("listed/a.png", "a.png"), ("listed/sub/b.png", "sub/b.png")):
        assert Path(one).read_bytes() == Path("out", other).read_bytes()
    succeed("model.onnx", "frames/a.png", "--boxes", "boxes.csv", "-o", "faces", "--faces-only", "--format", "jpg")
    assert set(contents("faces")) == {"a_face_0.jpg", "a_face_1.jpg"}


def test_a_name_goes_to_the_frame_whose_path_ends_with_it(here: Path) -> None:
    """The longest name counts, and a frame beside another one of the same name has no faces of it."""
    shutil.copytree("frames/sub", "frames/other")
    arguments = ("model.onnx", "frames", "--boxes", "boxes.csv", "--faces-only", "-o", "out")
    result = fsr_run(*arguments)
    assert set(contents("out")) == {"a_face_0.png", "a_face_1.png", "sub/b_face_0.png"} and result.exit_code == 0
    Path("boxes.csv").write_text(BOXES.replace("sub/b.png", "b.png"))
    refused = fsr_run(*arguments)
    assert (refused.exit_code, error(refused)) == (
        4,
        "boxes.csv: b.png could be frames/other/b.png or frames/sub/b.png; name it with its folder",
    )
    shutil.copy("frames/c.png", "frames/b.png")
    assert "3 done before" in succeed(*arguments).stderr and Path("out/b_face_0.png").exists()


def test_a_second_run_does_only_what_is_new_or_other(here: Path) -> None:
    arguments = ("model.onnx", "frames", "--boxes", "boxes.csv", "-o", "out")
    succeed(*arguments)
    assert "out: 0 done, 3 done before of 3" in succeed(*arguments).stderr
    Path("boxes.csv").write_text(BOXES.replace("3,4,9,9", "3,4,9,10"))
    assert "out: 1 done, 2 done before of 3" in succeed(*arguments).stderr
    assert "out: 3 done of 3" in succeed(*arguments, "--upscale", 2).stderr
    assert read_frame("out/c.png").shape == (60, 40, 3)
    assert "out: 3 done of 3" in succeed(*arguments, "--upscale", 2, "--all-faces").stderr
    write_onnx(Path("model.onnx"), facts={})
    assert "out: 3 done of 3" in succeed(*arguments, "--upscale", 2, "--all-faces").stderr
    assert "out: 3 done of 3" in succeed("model.onnx", "frames", "-o", "out").stderr, "then each frame is a face"


def red_dots() -> None:
    """Give the frames what the stand-in for a detector takes for faces: one, two and none."""
    for name, places in {"a.png": [(20, 20)], "sub/b.png": [(8, 12), (28, 20)], "c.png": []}.items():
        frame = np.zeros((*SIZES[name], 3), np.uint8)
        frame[..., 2] = 200
        for x, y in places:
            frame[y : y + 4, x : x + 4] = (255, 0, 0)
        write_frame(Path("frames") / name, frame)


def test_faces_are_found_and_saved_and_make_the_same_frames_again(here: Path) -> None:
    red_dots()
    write_centerface(Path("detector.onnx"))
    found = ("model.onnx", "frames", "--all-faces", "-o", "found", "--find-faces", "detector.onnx")
    result = succeed(*found, "--save-boxes", "found.csv", "--json")
    summary = json.loads(result.stdout)
    assert summary["faces"] == {"upscaled": 3, "left_as_they_are": 0, "frames_without": 1}
    assert "detector.onnx: CenterFace finds the faces, device cpu" in result.stderr
    assert {name: len(faces) for name, faces in read_boxes("found.csv").names.items()} == {"a.png": 1, "sub/b.png": 2}
    succeed("model.onnx", "frames", "--all-faces", "-o", "given", "--boxes", "found.csv")
    assert contents("given") == contents("found")
    saved = Path("found.csv").read_bytes()
    Path("found/a.png").unlink()
    again = succeed(*found, "--save-boxes", "found.csv")
    assert "1 done, 2 done before of 3" in again.stderr and Path("found.csv").read_bytes() == saved
    Path("found.csv").write_text("mine")
    refused = fsr_run(*found, "--save-boxes", "found.csv")
    assert (refused.exit_code, error(refused)) == (
        4,
        "found.csv: already exists; name another file with --save-boxes, or add --overwrite",
    )
    succeed(*found, "--save-boxes", "found.csv", "--overwrite")
    assert Path("found.csv").read_bytes() == saved


def test_faces_that_are_large_already_are_counted(here: Path) -> None:
    Path("boxes.csv").write_text("file,x,y,w,h\na.png,20,10,15,15\na.png,10,10,40,40\n")
    result = succeed("model.onnx", "frames", "--boxes", "boxes.csv", "-o", "out")
    assert "faces: 1 upscaled, 1 left as they are, larger than 32x32 already (--all-faces takes them)" in result.stderr


def test_faces_that_lost_detail_are_counted(here: Path) -> None:
    result = succeed("model.onnx", "frames", "--boxes", "boxes.csv", "-o", "out")
    assert (
        "warning: detail was lost in 3 of the faces, larger than 1.5 times 4x4; take an engine for larger ones"
        in result.stderr
    )


WRONG_OPTIONS = {
    "--upscale 3": "--upscale: is for faces in whole frames; add --boxes or --find-faces",
    "--faces-only": "--faces-only: is for faces in whole frames; add --boxes or --find-faces",
    "--all-faces": "--all-faces: is for faces in whole frames; add --boxes or --find-faces",
    "--save-boxes b.csv": "--save-boxes: is for faces in whole frames; add --boxes or --find-faces",
    "--boxes boxes.csv --find-faces d.onnx": "--boxes and --find-faces: the faces come from one of them; leave the",
    "--boxes boxes.csv --save-boxes b.csv": "--save-boxes: writes what --find-faces finds; add it",
    "--boxes boxes.csv --upscale 9": "--upscale 9: give a whole number from 1 to 8",
    "--boxes boxes.csv --upscale 2 --faces-only": "--upscale: --faces-only writes no frames; leave one of them out",
    "--boxes boxes.csv --fit stretch": "--fit stretch: is for frames that are faces; leave it out",
}


@pytest.mark.parametrize("options", list(WRONG_OPTIONS))
def test_options_that_do_not_fit_together_are_refused(here: Path, options: str) -> None:
    result = fsr_run("model.onnx", "frames", "-o", "out", *options.split())
    assert result.exit_code == 2 and error(result).startswith(WRONG_OPTIONS[options])
    assert not Path("out").exists()


BAD_FILES = {
    "file,x,y,w\na.png,1,2,3\n": "its first line is not the names of its columns",
    "file,x,y,w,h\na.png,1,2,nan,4\n": "line 2: the face (1, 2, nan, 4) has a number that is not finite",
    "file,x,y,w,h\na.png,1,2,0,4\n": "line 2: the face (1, 2, 0, 4) has no area",
    "file,x,y,w,h\na.png,1,2,3,4\na.png,1,2,3,4\n": "line 3: the face (1, 2, 3, 4) of a.png is there twice",
    "file,x,y,w,h\nz.png,1,2,3,4\n": "has no faces of any of the frames; its first file is z.png",
    "frame,x,y,w,h\n1,1,2,3,4\n": "is for a film; for pictures, its columns are file (of a film: frame), x, y, w, h",
}


@pytest.mark.parametrize("text", list(BAD_FILES))
def test_a_file_of_boxes_that_is_none_ends_the_run_before_anything_is_written(here: Path, text: str) -> None:
    Path("bad.csv").write_text(text)
    result = fsr_run("model.onnx", "frames", "-o", "out", "--boxes", "bad.csv")
    assert result.exit_code == 4 and error(result).startswith(f"bad.csv: {BAD_FILES[text]}")
    assert not Path("out").exists()


def test_a_detector_that_is_none_ends_the_run_before_anything_is_written(here: Path) -> None:
    result = fsr_run("model.onnx", "frames", "-o", "out", "--find-faces", "model.onnx")
    assert result.exit_code == 4 and "CenterFace" in error(result) and "YuNet" in error(result)
    assert "\n" not in error(result) and not Path("out").exists()


def test_bad_frames_and_faces_are_named_and_the_rest_is_done(here: Path) -> None:
    Path("boxes.csv").write_text(BOXES + "c.png,25,3,9,9\ngone.png,1,2,3,4\n")
    write_frame("frames/huge.png", np.zeros((3000, 3000, 3), np.uint8))
    Path("frames/cut.png").write_bytes(Path("frames/a.png").read_bytes()[:99])
    result = fsr_run("model.onnx", "frames", "-o", "out", "--boxes", "boxes.csv", "--json", "--upscale", 4)
    assert result.exit_code == 6
    reasons = sorted(failure["reason"] for failure in json.loads(result.stdout)["failures"])
    assert reasons == [
        "frames/c.png: face 1, (25, 3, 9, 9), lies outside the frame's 20x30 pixels",
        "frames/cut.png: truncated",
        "frames/gone.png: is in boxes.csv and not among the frames",
        "frames/huge.png: enlarged 4 times it has 12000x12000 pixels, over the limit of 134217728; choose a smaller"
        " --upscale",
    ]
    assert set(contents("out")) == {"a.png", "sub/b.png"}


def test_no_file_of_somebody_else_is_replaced(here: Path) -> None:
    Path("out").mkdir()
    shutil.copy("frames/c.png", "out/a_face_1.png")
    result = fsr_run("model.onnx", "frames", "-o", "out", "--boxes", "boxes.csv", "--faces-only")
    assert result.exit_code == 4 and "would be replaced: 1, the first is out/a_face_1.png" in error(result)
    assert contents("out") == {"a_face_1.png": Path("frames/c.png").read_bytes()}
    succeed("model.onnx", "frames", "-o", "out", "--boxes", "boxes.csv", "--faces-only", "--overwrite")
    assert read_frame("out/a_face_1.png").shape == (32, 32, 3)


def test_a_changed_journal_is_no_fault(here: Path) -> None:
    """A line about a frame that holds something other than faces counts for nothing."""
    arguments = ("model.onnx", "frames", "--boxes", "boxes.csv", "-o", "out")
    succeed(*arguments)
    journal = Path("out/.fsr-run.jsonl")
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    for line, faces in zip([line for line in lines if "frame" in line], ([1], [[1, 2, 3]], [[0] * 6]), strict=True):
        line["faces"] = faces
    journal.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert "out: 3 done of 3" in succeed(*arguments).stderr


def test_a_face_is_a_public_name() -> None:
    import fsr_deploy

    assert fsr_deploy.Face is Face
