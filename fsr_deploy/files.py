"""Files that are read and written whole or not at all."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fsr_deploy.errors import InputError


def read_file(path: Path) -> bytes:
    """Return a regular file's content; raises InputError where it cannot be read."""
    if path.exists() and not path.is_file():
        raise InputError(f"{path}: not a file")
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error


def write_file(path: Path, content: bytes) -> None:
    """Write a file, and the folders above it, so that a reader sees the old one or the new one; see replaced_file."""
    with replaced_file(path) as temporary:
        temporary.write_bytes(content)


@contextmanager
def replaced_file(path: Path) -> Iterator[Path]:
    """Yield a temporary file of the same folder that takes ``path``'s place when the block ends without an error.

    Raises InputError where that is impossible, a full disk included; then nothing is left behind.
    """
    # The same name at every try: what a killed process left behind is overwritten and goes away.
    temporary = path.with_name(f".{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            with temporary.open("rb") as stream:
                os.fsync(stream.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from error
