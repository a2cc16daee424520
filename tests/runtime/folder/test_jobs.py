import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsr_deploy.errors import InputError, UsageError
from fsr_deploy.images.codec import write_frame
from fsr_deploy.runtime.folder.jobs import find_work


@pytest.fixture
def faces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("faces/a.jpg", "faces/a.png", "faces/sub/b.webp", "faces/my.face.png"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    return Path("faces")


def targets(*arguments, **options) -> list[str]:
    return [str(job.target) for job in find_work(*arguments, **options).jobs]


def test_folders_and_formats_are_kept(faces: Path):
    assert targets("faces", "out", None) == ["out/a.jpg", "out/a.png", "out/my.face.png", "out/sub/b.webp"]


def test_names_do_not_collide_in_another_format(faces: Path):
    assert targets("faces", "out", ".png") == ["out/a.jpg.png", "out/a.png.png", "out/my.face.png", "out/sub/b.png"]


@pytest.mark.parametrize(
    ("source", "folder"), [("faces", "faces_sr"), ("faces/", "faces_sr"), ("./faces/.", "faces_sr")]
)
def test_the_output_folder_lies_beside_the_frames_by_default(faces: Path, source: str, folder: str):
    assert str(find_work(source, None, None).folder) == folder


def test_the_current_folder_has_a_name_too(faces: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(faces)
    assert find_work(".", None, None).folder.name == "faces_sr"


@pytest.mark.parametrize("output", ["faces", "faces/", "faces/sr", "faces/sub/../x"])
def test_outputs_never_lie_among_the_frames(faces: Path, output: str):
    with pytest.raises(UsageError, match="is inside the folder of the frames; name another with -o"):
        find_work("faces", output, None)


def test_two_slashes_at_the_front_are_no_way_round(faces: Path):
    """POSIX lets //a be another place than /a; on Linux it is the same."""
    with pytest.raises(UsageError, match="is inside the folder of the frames"):
        find_work(f"/{Path('faces').absolute()}", "faces/sr", None)
    with pytest.raises(UsageError, match="is inside the folder of the frames"):
        find_work("faces", f"/{Path('faces/sr').absolute()}", None)
    with pytest.raises(UsageError, match="is the frame itself"):
        find_work("faces/a.jpg", f"/{Path('faces/a.jpg').absolute()}", None)


def test_a_frame_that_links_to_where_its_output_would_go_is_not_overwritten(faces: Path):
    Path("out").mkdir()
    Path("out/c.png").touch()
    Path("faces/c.png").symlink_to(Path("out/c.png").absolute())
    with pytest.raises(UsageError, match=r"out/c\.png: would be overwritten, and it is one of the frames"):
        find_work("faces", "out", None)


@pytest.mark.parametrize(
    ("output", "suffix", "target"),
    [
        (None, None, "faces/my.face_sr.png"),
        (None, ".jpg", "faces/my.face_sr.jpg"),
        ("big.webp", None, "big.webp"),
        ("big.webp", ".webp", "big.webp"),
        ("out", None, "out/my.face.png"),
        ("out.v2", ".bmp", "out.v2/my.face.bmp"),
    ],
)
def test_an_image_goes_to_a_file_or_into_a_folder(faces: Path, output: str | None, suffix: str | None, target: str):
    work = find_work("faces/my.face.png", output, suffix)
    assert [str(job.target) for job in work.jobs] == [target]
    assert work.folder is None


def test_an_image_is_not_overwritten(faces: Path):
    for output in ("faces", "faces/a.jpg"):
        with pytest.raises(UsageError, match=r"faces/a\.jpg: is the frame itself"):
            find_work("faces/a.jpg", output, None)


def test_an_output_and_a_format_that_disagree_are_refused(faces: Path):
    with pytest.raises(UsageError, match=r"big\.png: its suffix is not the --format jpg"):
        find_work("faces/a.jpg", "big.png", ".jpg")


def test_listed_paths_keep_their_places_below_their_common_folder(faces: Path):
    listed = ["faces/sub/b.webp", "faces/a.png", "faces/a.png"]
    assert targets("-", "out", None, listed=listed) == ["out/sub/b.webp", "out/a.png"]


@pytest.mark.parametrize(
    ("listed", "sources", "outputs"),
    [
        (["faces/../faces/a.png", "faces/sub/../a.png"], ["faces/a.png"], ["out/a.png"]),
        (
            ["faces/sub/b.webp", "../x.png"],
            ["faces/sub/b.webp", "../x.png"],
            ["out/HERE/faces/sub/b.webp", "out/x.png"],
        ),
        (["link/b.webp", "faces/a.png"], ["link/b.webp", "faces/a.png"], ["out/link/b.webp", "out/faces/a.png"]),
        (["link/../a.png", "faces/a.jpg"], ["faces/a.png", "faces/a.jpg"], ["out/a.png", "out/a.jpg"]),
        (["nowhere/../faces/a.png"], ["faces/a.png"], ["out/a.png"]),
        (
            ["/HERE/faces/a.png", "faces/a.png", "faces/a.jpg"],
            ["faces/a.png", "faces/a.jpg"],
            ["out/a.png", "out/a.jpg"],
        ),
    ],
    ids=["one folder", "above", "a link", "out of a link", "a folder that is not there", "two slashes"],
)
def test_dots_in_listed_paths_are_undone_as_the_system_does(
    faces: Path, listed: list[str], sources: list[str], outputs: list[str]
):
    Path("link").symlink_to("faces/sub")
    here = Path.cwd()
    work = find_work("-", "out", None, [line.replace("HERE", str(here)) for line in listed])
    assert [job.source for job in work.jobs] == [Path(os.path.normpath(here / source)) for source in sources]
    assert [str(job.target) for job in work.jobs] == [output.replace("HERE", here.name) for output in outputs]


@pytest.fixture(scope="module")
def linked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with links in it that lead up, aside and nowhere."""
    folder = tmp_path_factory.mktemp("linked")
    (folder / "a" / "b").mkdir(parents=True)
    for name, to in (("up", ".."), ("a/aside", "/etc"), ("a/b/top", "../.."), ("gone", "nowhere"), ("loop", "loop")):
        (folder / name).symlink_to(to)
    return folder


@given(st.lists(st.sampled_from(["a", "b", "..", ".", "c.png", "up", "aside", "top", "gone", "loop"]), max_size=7))
def test_no_list_leads_out_of_the_output(linked: Path, parts: list[str]):
    work = find_work("-", "out", None, [f"{linked}/a/c.png", "/".join([str(linked), *parts, "x.png"])])
    for job in work.jobs:
        assert ".." not in job.target.parts and job.target.is_relative_to("out")
        assert ".." not in job.source.parts


def test_a_folder_that_cannot_be_a_frame_is_a_named_failure(faces: Path):
    work = find_work("-", "out", None, ["/", "faces/a.png"])
    assert work.listing.failed == [(Path("/"), "not a file")]
    assert len(work.jobs) == 1


def test_a_list_needs_an_output_and_paths(faces: Path):
    with pytest.raises(UsageError, match="a list of paths needs an output folder; name it with -o"):
        find_work("-", None, None, ["faces/a.png"])
    with pytest.raises(InputError, match="no paths on standard input"):
        find_work("-", "out", None, [])


def test_a_listed_frame_is_not_overwritten(faces: Path):
    with pytest.raises(UsageError, match=r"faces/a\.png: would be overwritten"):
        find_work("-", "faces", None, ["faces/a.png"])


def test_a_folder_called_as_a_video_is_a_folder_and_a_picture_a_picture(faces: Path):
    faces.rename("frames.ts")
    assert len(find_work("frames.ts", "out", None).jobs) == 4
    write_frame("a.png", np.zeros((4, 4, 3), np.uint8))
    Path("a.png").rename("clip.mp4")
    assert targets("clip.mp4", None, None) == ["clip_sr.png"]


def test_the_root_has_no_place_beside_it():
    with pytest.raises(UsageError, match=r"/: no folder can be made beside it; name an output folder with -o"):
        find_work("/", None, None)


def test_a_missing_input_is_named(faces: Path):
    with pytest.raises(InputError, match="nowhere: no such file or folder"):
        find_work("nowhere", None, None)
