"""Faces in a file: read for ``--boxes``, written for ``--save-boxes``."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from fsr_deploy._util.files import read_file
from fsr_deploy.errors import InputError
from fsr_deploy.faces.face import LANDMARKS, Face, fault_of

BOX = ("x", "y", "w", "h")
POINTS = tuple(f"{name}_{axis}" for name in LANDMARKS for axis in "xy")
COLUMNS = f"file (of a film: frame), {', '.join(BOX)}, and if you like score and {', '.join(POINTS)}"


@dataclass(frozen=True)
class Boxes:
    """The faces of a file. ``names`` has those of pictures by the name that the file gives, ``numbers`` those of a
    film by the frame's number, the first being 0. ``sha256`` is the file's.
    """

    path: Path
    sha256: str
    names: Mapping[str, tuple[Face, ...]] = field(default_factory=dict)
    numbers: Mapping[int, tuple[Face, ...]] = field(default_factory=dict)

    def of_frame(self, number: int) -> tuple[Face, ...]:
        """Return the faces of a film's frame, none where the file has no line for it."""
        return self.numbers.get(number, ())


class _Fault(Exception):
    """What is wrong with a file of boxes, and where in it."""


def read_boxes(path: str | Path) -> Boxes:
    """Read a file of faces, as CSV or as COCO's JSON.

    CSV has a line for each face below a line with the names of its columns: ``file,x,y,w,h``, for films ``frame`` (a
    number from 0 on) instead of ``file``; ``score`` and the ten columns of the landmarks may follow (COLUMNS), and are
    empty where a face has none. Of COCO the pictures' ``file_name`` and the annotations' ``bbox`` are read, with
    ``score``, and with ``keypoints`` where they are five that are labelled.

    Raises InputError that names the line where the file is something else, or holds a face that has no area or is there
    twice.
    """
    path = Path(path)
    content = read_file(path)
    text = content.decode("utf-8-sig", "surrogateescape")  # names of files may be no text
    found: dict[str | int, list[Face]] = defaultdict(list)
    try:
        for place, key, face in _from_coco(text) if text.lstrip().startswith("{") else _from_csv(text):
            if fault := fault_of(face):
                raise _Fault(f"{place}: the face {face} {fault}")
            if any(face.box == other.box for other in found[key]):
                raise _Fault(f"{place}: the face {face} of {key} is there twice")
            found[key].append(face)
    except _Fault as fault:
        raise InputError(f"{path}: {fault}") from None
    return Boxes(
        path,
        hashlib.sha256(content).hexdigest(),
        {key: tuple(faces) for key, faces in found.items() if isinstance(key, str)},
        {key: tuple(faces) for key, faces in found.items() if isinstance(key, int)},
    )


def boxes_csv(faces: Iterable[tuple[str | int, Sequence[Face]]]) -> bytes:
    """Return the CSV file that ``read_boxes`` reads; each picture's name, or each frame's number, with its faces."""
    rows = [(key, face) for key, known in faces for face in known]
    films = bool(rows) and isinstance(rows[0][0], int)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("frame" if films else "file", *BOX, "score", *POINTS))
    for key, face in rows:
        points = tuple(chain.from_iterable(face.landmarks)) if face.landmarks else ("",) * len(POINTS)
        writer.writerow((key, *face.box, "" if face.score is None else face.score, *points))
    return out.getvalue().encode("utf-8", "surrogateescape")


def _from_csv(text: str) -> Iterable[tuple[str, str | int, Face]]:
    reader = csv.reader(io.StringIO(text, newline=""), skipinitialspace=True)
    try:
        header = [name.strip().lower() for name in next(reader, [])]
        _check_header(header)
        for row in reader:
            if row:
                place = f"line {reader.line_num}"
                if len(row) != len(header):
                    raise _Fault(f"{place}: {len(row)} columns instead of the {len(header)} of the first line")
                yield place, *_face_of(dict(zip(header, row, strict=True)), place)
    except csv.Error as error:
        raise _Fault(f"line {reader.line_num}: {error}") from None


def _check_header(header: Sequence[str]) -> None:
    known = ("file", "frame", *BOX, "score", *POINTS)
    marks = sum(name in POINTS for name in header)
    right = (
        set(BOX) <= set(header) <= set(known)
        and ("file" in header) != ("frame" in header)
        and marks in (0, len(POINTS))
        and len(set(header)) == len(header)
    )
    if not right:
        raise _Fault(f"its first line is not the names of its columns; they are {COLUMNS}")


def _face_of(row: Mapping[str, str], place: str) -> tuple[str | int, Face]:
    numbers = {name: _number(text, f"{place}: {name}") for name, text in row.items() if name not in ("file", "frame")}
    x, y, w, h = (numbers[name] for name in BOX)
    if None in (x, y, w, h):
        raise _Fault(f"{place}: a box needs {', '.join(BOX)}")
    marks = [numbers.get(name) for name in POINTS]
    given = [mark for mark in marks if mark is not None]
    if given and len(given) < len(marks):
        raise _Fault(f"{place}: {len(given)} of the {len(marks)} numbers of its landmarks")
    points = tuple(zip(given[::2], given[1::2], strict=True)) if given else None
    return _key(row, place), Face(x or 0.0, y or 0.0, w or 0.0, h or 0.0, points, numbers.get("score"))


def _key(row: Mapping[str, str], place: str) -> str | int:
    if "file" in row:
        if not row["file"]:
            raise _Fault(f"{place}: names no file")
        return row["file"]
    number = row["frame"].strip()
    if not number.isdecimal() or len(number) > 15:
        raise _Fault(f"{place}: frame is {number!r} instead of a number from 0 on")
    return int(number)


def _number(text: str, place: str) -> float | None:
    try:
        return float(text) if text.strip() else None
    except ValueError:
        raise _Fault(f"{place} is {text!r} instead of a number") from None


def _from_coco(text: str) -> Iterable[tuple[str, str, Face]]:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _Fault(f"not JSON that can be read: {error}") from None
    names: dict[Any, str] = {}
    for picture in _list(data, "images"):
        match picture:
            case {"id": int() | str() as number, "file_name": str(name)}:
                names[number] = name
            case _:
                raise _Fault("one of its images has no id or file_name; it is not COCO's JSON")
    for index, annotation in enumerate(_list(data, "annotations")):
        place = f"annotations[{index}]"
        match annotation:
            case {"image_id": int() | str() as number, "bbox": [_, _, _, _] as box}:
                if number not in names:
                    raise _Fault(f"{place}: its image_id {number!r} is no image's")
                x, y, w, h = (_json_number(side, f"{place}.bbox") for side in box)
                score = annotation.get("score")
                points = _keypoints(annotation.get("keypoints"), place)
                sure = None if score is None else _json_number(score, f"{place}.score")
                yield place, names[number], Face(x, y, w, h, points, sure)
            case _:
                raise _Fault(f"{place} has no image_id or no bbox of four numbers; it is not COCO's JSON")


def _list(data: dict[str, Any], name: str) -> list[Any]:
    value = data.get(name)
    if not isinstance(value, list):
        raise _Fault(f"no list of {name} in it; it is not COCO's JSON")
    return value


def _keypoints(value: Any, place: str) -> tuple[tuple[float, float], ...] | None:
    """Return five labelled points of COCO's x, y, visibility; None for other ones, a body's for example."""
    if not isinstance(value, list) or len(value) != 3 * len(LANDMARKS):
        return None
    numbers = [_json_number(number, f"{place}.keypoints") for number in value]
    if 0 in numbers[2::3]:
        return None
    return tuple(zip(numbers[::3], numbers[1::3], strict=True))


def _json_number(value: Any, place: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _Fault(f"{place} holds {value!r} instead of a number")
    try:
        return float(value)
    except OverflowError:
        return math.inf
