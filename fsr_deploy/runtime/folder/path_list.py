"""Lists of paths as other programs write them."""

from __future__ import annotations

import os
import re

from fsr_deploy.errors import InputError
from fsr_deploy.images.header import HEAD_BYTES, recognise

# GIF, and what begins as an MP4 does: AVIF, HEIC, films.
_OTHER_PICTURE = re.compile(rb"GIF8[79]a|\0\0\0.ftyp", re.DOTALL)
_UTF8_MARK = b"\xef\xbb\xbf"
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


def read_list(content: bytes) -> list[str]:
    """Return the paths of a list, as os.fsdecode gives them.

    They are separated by zero bytes (find -print0) if there is one, otherwise by line ends, also those of Windows.
    Everything else belongs to the names, blanks included. Raises InputError for a picture or another
    file that is no list, and for a list in UTF-16.
    """
    if recognise(content[:HEAD_BYTES]) or _OTHER_PICTURE.match(content):
        raise InputError("-: takes paths, not a picture; name the picture's file instead of -")
    if content.startswith(_UTF16_MARKS) and b"\0" in content[2:4]:
        raise InputError("-: the list is in UTF-16; write it in UTF-8")
    if b"\0\0" in content.strip(b"\0"):  # an empty path, which no list has
        raise InputError("-: takes paths, not what is in a file; name the file instead of -")
    content = content.removeprefix(_UTF8_MARK)
    if b"\0" in content:
        lines = content.split(b"\0")
    else:
        lines = [line.removesuffix(b"\r") for line in content.split(b"\n")]
    try:
        return [os.fsdecode(line) for line in lines if line]
    except UnicodeDecodeError as error:  # Windows, where names are text
        raise InputError(f"-: the list is not in UTF-8: {error}") from error
