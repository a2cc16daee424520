import os

import pytest

from fsr_deploy.errors import InputError
from fsr_deploy.runtime.folder.path_list import read_list


@pytest.mark.parametrize(
    ("content", "paths"),
    [
        (b"a.png\nb.png\n", ["a.png", "b.png"]),
        (b"a.png\nb.png", ["a.png", "b.png"]),
        (b"a.png\r\nb.png\r\n", ["a.png", "b.png"]),
        (b"\n\na.png\n\r\n", ["a.png"]),
        (b" a.png \n\tb.png\x0b\n", [" a.png ", "\tb.png\x0b"]),
        (b"a\rb.png\n", ["a\rb.png"]),
        (b"a\nb.png\0c.png\r\0 \0", ["a\nb.png", "c.png\r", " "]),
        (b"a.png\0", ["a.png"]),
        (b"latin1_\xe9.png\n", [os.fsdecode(b"latin1_\xe9.png")]),
        (b"\xff\xfe.png\0", [os.fsdecode(b"\xff\xfe.png")]),
        (b"\xef\xbb\xbfa.png\n", ["a.png"]),
        (b"BM.png\nGIF8.png\n", ["BM.png", "GIF8.png"]),
        (b"tmp/ftyp.png\n", ["tmp/ftyp.png"]),
        (b"", []),
    ],
)
def test_a_list_is_read_to_the_byte(content: bytes, paths: list[str]):
    assert read_list(content) == paths


def test_another_file_is_not_taken_for_thousands_of_paths():
    with pytest.raises(InputError, match="-: takes paths, not what is in a file; name the file instead of -"):
        read_list(b"\x7fELF\x02\x01\0\0\0a.out\0")
    assert read_list(b"\0\0") == []


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_a_list_in_utf_16_is_named(encoding: str):
    with pytest.raises(InputError, match=r"-: the list is in UTF-16; write it in UTF-8"):
        read_list("\ufefffaces/a.png\r\n".encode(encoding))
