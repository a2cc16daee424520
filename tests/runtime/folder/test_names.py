import operator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsr_deploy._util.files import suffix_of
from fsr_deploy.runtime.folder.names import output_names


@pytest.mark.parametrize(
    ("frames", "suffix", "outputs"),
    [
        (["A.jpg", "a.png"], ".png", ["A.jpg.png", "a.png.png"]),
        (["é.jpg", "e\u0301.png"], ".png", ["é.jpg.png", "e\u0301.png.png"]),
        (["A.png", "a.png"], None, ["A.png", "a.png"]),
        (["SUB/a.jpg", "sub/b.jpg"], ".png", ["SUB/a.png", "sub/b.png"]),
        (["a.jfif", "b.JPE", "c", "d.dat", "E.JPG"], None, ["a.jpg", "b.jpg", "c.png", "d.png", "E.JPG"]),
        (["a.jfif", "a.jpg"], None, ["a.jfif.jpg", "a.jpg.jpg"]),
        (["f.0001", "f.0002"], None, ["f.0001.png", "f.0002.png"]),
    ],
)
def test_names_differ_by_more_than_case_where_they_can(frames: list[str], suffix: str | None, outputs: list[str]):
    assert output_names(frames, suffix) == outputs


names = st.text("aAb.", min_size=1, max_size=4).filter(lambda name: name.strip("."))
frames = st.builds(operator.add, names, st.sampled_from([".png", ".jpg", ".JPG", ".jpg.png", ""]))


@given(st.lists(frames, unique=True, max_size=12), st.sampled_from([None, ".png", ".jpg"]))
def test_no_two_frames_share_an_output(frames: list[str], suffix: str | None):
    assert len(set(output_names(frames, suffix))) == len(frames)


@given(st.text("a./", min_size=1, max_size=6).map(lambda name: str(Path(name))))
def test_a_suffix_is_that_of_a_path(path: str):
    assert suffix_of(path) == Path(path).suffix
