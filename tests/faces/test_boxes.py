"""Files of faces: what is read, what is written, and one sentence for what is neither."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsr_deploy.errors import InputError
from fsr_deploy.faces.boxes import POINTS, boxes_csv, read_boxes
from fsr_deploy.faces.face import Face

MARKS = ((1.0, 2.0), (3.0, 4.0), (5.0, 6.0), (7.0, 8.0), (9.0, 10.5))
HEAD = "file,x,y,w,h\n"


def read(folder: Path, text: str | bytes, name: str = "boxes.csv") -> object:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_boxes(path)


def test_a_line_is_a_face_of_a_file(tmp_path: Path) -> None:
    boxes = read(
        tmp_path, "\ufeffFile, x,y,w,h\r\na b.png,1,2,3,4\r\nsub/c.png,1.5,-2,3e1,4\r\n\r\na b.png,9,2,3,4\r\n"
    )
    assert boxes.names == {  # type: ignore[attr-defined]
        "a b.png": (Face(1, 2, 3, 4), Face(9, 2, 3, 4)),
        "sub/c.png": (Face(1.5, -2, 30, 4),),
    }


def test_columns_may_stand_in_any_order_and_landmarks_may_be_missing(tmp_path: Path) -> None:
    numbers = ",".join(str(number) for point in MARKS for number in point)
    text = f"{','.join(POINTS)},score,h,w,y,x,frame\n{numbers},0.5,4,3,2,1,7\n{',' * 9},,4,3,2,1,0\n"
    boxes = read(tmp_path, text)
    assert boxes.numbers == {7: (Face(1, 2, 3, 4, MARKS, 0.5),), 0: (Face(1, 2, 3, 4),)}  # type: ignore[attr-defined]
    assert boxes.of_frame(7) and boxes.of_frame(1) == ()  # type: ignore[attr-defined]


def coco(**annotation: object) -> str:
    images = [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "b.png"}]
    return json.dumps({"images": images, "annotations": [{"image_id": 2, "bbox": [1, 2, 3, 4], **annotation}]})


@pytest.mark.parametrize(
    ("more", "face"),
    [
        ({}, Face(1, 2, 3, 4)),
        ({"score": 0.5, "category_id": 1, "iscrowd": 0}, Face(1, 2, 3, 4, None, 0.5)),
        ({"keypoints": [n for point in MARKS for n in (*point, 2)]}, Face(1, 2, 3, 4, MARKS)),
        ({"keypoints": [n for point in MARKS for n in (*point, 0)]}, Face(1, 2, 3, 4)),
        ({"keypoints": [1, 2, 2] * 17}, Face(1, 2, 3, 4)),
    ],
)
def test_cocos_json_is_read(tmp_path: Path, more: dict[str, object], face: Face) -> None:
    assert read(tmp_path, coco(**more), "boxes.json").names == {"b.png": (face,)}  # type: ignore[attr-defined]


WRONG = {
    "": "its first line is not the names of its columns; they are file (of a film: frame), x, y, w, h, and if you like",
    "a.png,1,2,3,4\n": "its first line is not the names of its columns",
    "file,x,y,w\na.png,1,2,3\n": "its first line is not the names of its columns",
    "file,frame,x,y,w,h\n": "its first line is not the names of its columns",
    "file,x,y,w,h,h\n": "its first line is not the names of its columns",
    "file,x,y,w,h,nose_x\n": "its first line is not the names of its columns",
    "file,x,y,w,h,colour\n": "its first line is not the names of its columns",
    HEAD + "a.png,1,2,3\n": "line 2: 4 columns instead of the 5 of the first line",
    HEAD + "a.png,1,2,3,4\na.png,1,2,three,4\n": "line 3: w is 'three' instead of a number",
    HEAD + "a.png,1,2,,4\n": "line 2: a box needs x, y, w, h",
    HEAD + "a.png,1,nan,3,4\n": "line 2: the face (1, nan, 3, 4) has a number that is not finite",
    HEAD + "a.png,1,2,inf,4\n": "line 2: the face (1, 2, inf, 4) has a number that is not finite",
    HEAD + "a.png,1,2,0,4\n": "line 2: the face (1, 2, 0, 4) has no area",
    HEAD + "a.png,1,2,3,-4\n": "line 2: the face (1, 2, 3, -4) has no area",
    HEAD + "a.png,1,2,3,4\na.png,1.0,2,3,4\n": "line 3: the face (1, 2, 3, 4) of a.png is there twice",
    HEAD + ",1,2,3,4\n": "line 2: names no file",
    "frame,x,y,w,h\n-1,1,2,3,4\n": "line 2: frame is '-1' instead of a number from 0 on",
    "frame,x,y,w,h\n1.5,1,2,3,4\n": "line 2: frame is '1.5' instead of a number from 0 on",
    f"file,x,y,w,h,{','.join(POINTS)}\na,1,2,3,4,1,2,3,,,,,,,\n": "line 2: 3 of the 10 numbers of its landmarks",
    HEAD + '"a\n' + "x" * 200_000: "line 3: field larger than field limit (131072)",
    "\x89PNG\r\n\x1a\n\0\0": "its first line is not the names of its columns",
    "{": "not JSON that can be read: Expecting property name",
    "{}": "no list of images in it; it is not COCO's JSON",
    '{"images": [1]}': "one of its images has no id or file_name",
    '{"images": []}': "no list of annotations in it",
    '{"images": [], "annotations": [{}]}': "annotations[0] has no image_id or no bbox of four numbers",
    coco(image_id=3): "annotations[0]: its image_id 3 is no image's",
    coco(bbox=[1, 2, "3", 4]): "annotations[0].bbox holds '3' instead of a number",
    coco(bbox=[1, 2, float("nan"), 4]): "annotations[0]: the face (1, 2, nan, 4) has a number that is not finite",
    coco(bbox=[1, 2, 10**400, 4]): "annotations[0]: the face (1, 2, inf, 4) has a number that is not finite",
    coco(bbox=[1, 2, 3, 0]): "annotations[0]: the face (1, 2, 3, 0) has no area",
    '{"images":' + "[" * 100_000: "not JSON that can be read: ",
}


@pytest.mark.parametrize("text", list(WRONG), ids=range(len(WRONG)))
def test_what_is_wrong_is_named_with_its_line(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError) as caught:
        read(tmp_path, text)
    assert str(caught.value).startswith(f"{tmp_path / 'boxes.csv'}: {WRONG[text]}")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no\.csv: cannot be read: No such file or directory"):
        read_boxes(tmp_path / "no.csv")


@pytest.mark.parametrize("keys", [("a.png", 'b",\n.png', "caf\udce9.png", "ü/ö.png"), (0, 3, 2, 100)])
def test_what_is_written_is_read_as_it_was(tmp_path: Path, keys: tuple[str | int, ...]) -> None:
    faces = [Face(1 / 3, 2, 3e-7, 4, MARKS, 0.1 + 0.2), Face(5, 6, 7, 8), Face(-1.5, 6, 7, 8e5, None, 0.0)]
    known = {key: tuple(faces[: index % 4]) for index, key in enumerate(keys)}
    boxes = read(tmp_path, boxes_csv(known.items()))
    read_back = boxes.names | boxes.numbers  # type: ignore[attr-defined]
    assert read_back == {key: value for key, value in known.items() if value}
    assert read(tmp_path, boxes_csv([])).names == {}  # type: ignore[attr-defined]


@given(st.binary(max_size=300) | st.text(max_size=60).map(lambda text: (HEAD + text).encode("utf-8", "replace")))
def test_any_bytes_are_boxes_or_one_sentence(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_bytes(content)
    try:
        read_boxes(path)
    except InputError as error:
        assert str(error).startswith(f"{path}: ")
