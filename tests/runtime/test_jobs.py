from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsr_deploy.errors import InputError, UsageError
from fsr_deploy.runtime.jobs import find_work, output_names


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


names = st.text("ab.", min_size=1, max_size=4).filter(lambda name: name.strip("."))
frames = st.builds(lambda name, suffix: Path(name + suffix), names, st.sampled_from([".png", ".jpg", ".jpg.png", ""]))


@given(st.lists(frames, unique=True, max_size=12), st.sampled_from([None, ".png", ".jpg"]))
def test_no_two_frames_share_an_output(paths: list[Path], suffix: str | None):
    assert len(set(output_names(paths, suffix))) == len(paths)


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
    with pytest.raises(UsageError, match="lies in the folder of the frames; name another with -o"):
        find_work("faces", output, None)


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
    listed = ["faces/sub/b.webp\n", "faces/a.png\n", "\n", "faces/a.png\n"]
    assert targets("-", "out", None, listed=listed) == ["out/sub/b.webp", "out/a.png"]


def test_a_list_needs_an_output_and_paths(faces: Path):
    with pytest.raises(UsageError, match="a list of paths needs an output folder; name it with -o"):
        find_work("-", None, None, ["faces/a.png"])
    with pytest.raises(InputError, match="no paths on standard input"):
        find_work("-", "out", None, ["\n"])


def test_a_listed_frame_is_not_overwritten(faces: Path):
    with pytest.raises(UsageError, match=r"faces/a\.png: would be overwritten"):
        find_work("-", "faces", None, ["faces/a.png"])


@pytest.mark.parametrize("name", ["clip.mp4", "clip.MOV"])
def test_a_video_is_refused_with_what_to_do(faces: Path, name: str):
    Path(name).touch()
    with pytest.raises(InputError, match=rf"{name}: videos are not supported yet; extract the frames first \(ffmpeg"):
        find_work(name, None, None)


def test_a_missing_input_is_named(faces: Path):
    with pytest.raises(InputError, match="nowhere: no such file or folder"):
        find_work("nowhere", None, None)
