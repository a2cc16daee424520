import dataclasses
from pathlib import Path

import pytest

from fsr_deploy.errors import InputError
from fsr_deploy.runtime.folder.journal import NAME, Journal, face_key, made_with
from fsr_deploy.runtime.session import EngineInfo

INFO = EngineInfo("ONNX Runtime 1", "cuda:0", "fp32", "0" * 64, (4, 4), (32, 32), best_batch=8)


@pytest.fixture
def output(tmp_path: Path) -> Path:
    (tmp_path / "a.png").write_bytes(b"picture")
    journal = Journal(tmp_path)
    journal.add(tmp_path / "a.png", "key", b"picture")
    journal.close()
    return tmp_path


def has(folder: Path, key: str = "key", name: str = "a.png") -> bool:
    journal = Journal(folder)
    try:
        return not journal.is_foreign(folder / name) and journal.has(folder / name, [key])
    finally:
        journal.close()


def is_foreign(folder: Path, name: str = "a.png") -> bool:
    journal = Journal(folder)
    try:
        return journal.is_foreign(folder / name)
    finally:
        journal.close()


def test_what_was_finished_is_known_afterwards(output: Path):
    assert has(output)


def test_whatever_a_face_depends_on_makes_it_another():
    one = ("frame", ".png", made_with(INFO, "crop"), 8)
    changes = {"engine": "ONNX Runtime 2", "device": "cpu", "sha256": "1" * 64}
    other_engines = [dataclasses.replace(INFO, **{name: value}) for name, value in changes.items()]
    others = [("other", *one[1:]), (one[0], ".jpg", *one[2:]), (*one[:3], 4), (*one[:2], made_with(INFO, "stretch"), 8)]
    others += [(*one[:2], made_with(info, "crop"), 8) for info in other_engines]
    assert len({face_key(*face) for face in (one, *others)}) == 1 + len(others) == 8


def test_a_gpu_is_as_good_as_the_next_and_a_suffix_as_its_capitals():
    assert made_with(INFO, "crop") == made_with(dataclasses.replace(INFO, device="cuda:1"), "crop")
    assert face_key("frame", ".PNG", "made", 1) == face_key("frame", ".png", "made", 1)


def test_an_output_of_another_key_is_ours_and_not_finished(output: Path):
    assert not is_foreign(output)
    assert not has(output, "other")


def test_an_output_that_was_deleted_is_nobodys_and_one_that_was_changed_somebodys(output: Path):
    (output / "a.png").write_bytes(b"pictura")
    assert is_foreign(output) and not has(output)
    (output / "a.png").unlink()
    assert not is_foreign(output) and not has(output)


def test_an_output_that_a_power_cut_left_empty_is_made_again(output: Path):
    (output / "a.png").write_bytes(b"")
    (output / "b.png").write_bytes(b"")
    assert not is_foreign(output) and not has(output)
    assert is_foreign(output, "b.png")


def test_a_file_that_no_run_wrote_is_foreign_and_a_folder_is_not(output: Path):
    (output / "b.png").write_bytes(b"picture")
    (output / "folder.png").mkdir()
    (output / "link.png").symlink_to("a.png")
    assert is_foreign(output, "b.png")
    assert is_foreign(output, "link.png")
    assert not is_foreign(output, "folder.png")
    assert not is_foreign(output, "nothing.png")


@pytest.mark.parametrize(
    "rest",
    [
        *(b'{"output": "a.p', b"\xff\xfe\0", b"[1, 2]\n", b'{"output": 1, "key": 2, "sha256": 3}\n', b"null"),
        *(
            b'{"made_with": "m", "asked": 8, "batch": 0}\n',
            b'{"made_with": "m", "asked": "8", "batch": 4}',
            b"[" * 9999,
        ),
    ],
)
def test_a_damaged_line_is_passed_over_and_the_next_is_whole(output: Path, rest: bytes):
    with (output / NAME).open("ab") as stream:
        stream.write(rest)
    (output / "b.png").write_bytes(b"other")
    journal = Journal(output)
    assert not journal.is_foreign(output / "a.png") and journal.has(output / "a.png", ["key"])
    assert journal.batches("m", 8) == []
    journal.add(output / "b.png", "key", b"other")
    journal.close()
    assert has(output) and has(output, name="b.png")


def test_the_last_word_on_an_output_counts(output: Path):
    journal = Journal(output)
    journal.add(output / "a.png", "newer", b"picture")
    journal.close()
    assert has(output, "newer") and not has(output)


def test_an_output_about_to_be_replaced_is_ours_before_and_after(output: Path):
    """A run may be killed between the journal's line and the file."""
    journal = Journal(output)
    journal.add(output / "a.png", "newer", b"new picture")
    journal.close()
    assert has(output) and not has(output, "newer")
    (output / "a.png").write_bytes(b"new picture")
    assert has(output, "newer") and not has(output)


def test_batches_are_remembered_for_what_was_asked(output: Path):
    journal = Journal(output)
    for batch in (16, 8):
        journal.add_batch("made", 32, batch)
    journal.close()
    journal = Journal(output)
    assert journal.batches("made", 32) == [16, 8]
    assert journal.batches("made", 16) == journal.batches("other", 32) == []
    journal.close()


def test_nothing_is_left_in_a_folder_where_nothing_was_written(tmp_path: Path):
    Journal(tmp_path / "out").close()
    assert list((tmp_path / "out").iterdir()) == []


def test_two_runs_do_not_write_to_one_folder(output: Path):
    first = Journal(output)
    with pytest.raises(InputError, match="another fsr-run is writing here"):
        Journal(output)
    first.close()
    assert has(output)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"file/out: cannot be written: Not a directory"):
        Journal(tmp_path / "file" / "out")


def test_a_journal_that_cannot_be_written_is_named_and_lets_go_of_the_folder(tmp_path: Path):
    (tmp_path / NAME).mkdir()
    for _ in range(2):
        with pytest.raises(InputError, match=rf"{NAME}: not a file"):
            Journal(tmp_path)
    journal = Journal(tmp_path / "out")
    (tmp_path / "out" / NAME).symlink_to("elsewhere")
    with pytest.raises(InputError, match=rf"{NAME}: cannot be written: Too many levels of symbolic links"):
        journal.add(tmp_path / "out" / "a.png", "key", b"")
    journal.close()
