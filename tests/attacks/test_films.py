"""Hostile films end with one sentence or with what could be done of them: no crash, no endless run, no other file."""

from __future__ import annotations

from pathlib import Path

import pytest

import fsr_deploy as fsr
from fsr_deploy.errors import FsrError
from fsr_deploy.films.kinds import is_film
from fsr_deploy.films.segments import read_segment
from tests.attacks.hostile_films import hostile_films
from tests.engines import write_onnx
from tests.films.drawn import restore


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return dict(hostile_films(tmp_path_factory.mktemp("seeds")))


@pytest.mark.timeout(60)
def test_each_ends_with_a_sentence_or_a_film(films: dict[str, bytes], tmp_path: Path) -> None:
    assert len(films) > 20
    done = set()
    for name, content in films.items():
        source, target = tmp_path / name, tmp_path / f"new_{name}.mkv"
        source.write_bytes(content)
        try:
            summary = restore(source, target)
        except FsrError as error:
            assert str(source) in str(error)
            assert not target.exists()
        else:
            assert target.exists()
            done.add(name)
            assert summary.done <= summary.total
    leading_elsewhere = {"playlist.ts", "list_of_files.mp4", "description.mp4"}
    assert not done & leading_elsewhere


@pytest.mark.parametrize(
    "content",
    [b"", b"fsrfilm1", b"fsrfilm1\xff\xff\xff\xff", b"fsrfilm1\1\0\0\0" + b"\xff" * 40, b"another1\0\0\0\0"],
)
def test_a_segment_that_is_none_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "segment").write_bytes(content)
    with pytest.raises(FsrError, match="not a segment of a film; remove it and run again"):
        read_segment(tmp_path / "segment")


@pytest.mark.timeout(60)
def test_each_ends_with_a_sentence_or_with_faces(films: dict[str, bytes], tmp_path: Path) -> None:
    engine, boxes = write_onnx(tmp_path / "model.onnx"), tmp_path / "boxes.csv"
    boxes.write_text("frame,x,y,w,h\n0,2,2,8,8\n")
    done = set()
    with fsr.load(engine, "cpu") as upscaler:
        for name, content in films.items():
            source, folder = tmp_path / name, tmp_path / f"faces of {name}" / "faces"
            source.write_bytes(content)
            if not is_film(str(source)):
                continue
            try:
                summary = upscaler.run(source, folder, boxes=str(boxes), faces_only=True, all_faces=True)
            except FsrError as error:
                assert str(source) in str(error) or str(boxes) in str(error)
                assert not folder.exists()
            else:
                done.add(name)
                assert summary.done <= summary.total
                assert {path.name for path in folder.iterdir()} <= {"frame_000000_face_0.png", ".fsr-run.jsonl"}
    assert done
