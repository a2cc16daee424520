from pathlib import Path

import pytest

from fsr_deploy.errors import InputError
from fsr_deploy.runtime.journal import NAME, Journal, job_key


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
        return journal.has(folder / name, key)
    finally:
        journal.close()


def test_what_was_finished_is_known_afterwards(output: Path):
    assert has(output)


def test_another_frame_engine_format_or_fit_is_another_thing(output: Path):
    one = (b"1", "e", ".png", "crop")
    others = [(b"2", *one[1:]), (b"1", "f", ".png", "crop"), (b"1", "e", ".jpg", "crop"), (*one[:3], "stretch")]
    assert len({job_key(*arguments) for arguments in (one, *others)}) == 5
    assert not has(output, "other")


def test_an_output_that_was_deleted_or_altered_is_not_finished(output: Path):
    (output / "a.png").write_bytes(b"pictura")
    assert not has(output)
    (output / "a.png").unlink()
    assert not has(output)


@pytest.mark.parametrize(
    "rest", [b'{"output": "a.p', b"\xff\xfe\0", b"[1, 2]\n", b'{"output": 1, "key": 2, "sha256": 3}\n', b"null"]
)
def test_a_damaged_line_is_passed_over_and_the_next_is_whole(output: Path, rest: bytes):
    with (output / NAME).open("ab") as stream:
        stream.write(rest)
    (output / "b.png").write_bytes(b"other")
    journal = Journal(output)
    assert journal.has(output / "a.png", "key")
    journal.add(output / "b.png", "key", b"other")
    journal.close()
    assert has(output) and has(output, name="b.png")


def test_the_last_word_on_an_output_counts(output: Path):
    journal = Journal(output)
    journal.add(output / "a.png", "newer", b"picture")
    journal.close()
    assert has(output, "newer") and not has(output)


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
