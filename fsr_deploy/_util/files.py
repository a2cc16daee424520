"""Files that are read and written whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

from fsr_deploy.errors import InputError

# Without O_NONBLOCK, opening a pipe would wait. Not every system has the last two.
_READ = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)

_HASHED_AT_ONCE = 1 << 20
_READ_AT_ONCE = 1 << 30


class CannotWrite(InputError):
    """A file that cannot be written; ``number`` is the system's errno."""

    def __init__(self, message: str, number: int | None) -> None:
        super().__init__(message)
        self.number = number

    def __reduce__(self) -> tuple[type[CannotWrite], tuple[str, int | None]]:
        return CannotWrite, (str(self), self.number)  # so that it comes whole from another process


def one_slash(path: str) -> str:
    """Return a path with one slash at the front; two name the same file there, but pathlib finds them unequal."""
    return f"/{path.lstrip('/')}" if os.sep == "/" and path.startswith("//") else path


def read_file(path: str | Path) -> bytes:
    """Return a regular file's content; raises InputError where it cannot be read."""
    try:
        handle, size = _open_regular(path)
        try:
            return _read_all(handle, size)
        finally:
            os.close(handle)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:  # a zero byte in the name
        raise InputError(f"{path}: cannot be read: {error}") from error


def file_sha256(path: str | Path) -> str:
    """Return the SHA-256 of a regular file of any size; raises InputError where it cannot be read."""
    digest = hashlib.sha256()
    try:
        with os.fdopen(_open_regular(path)[0], "rb") as stream:
            while part := stream.read(_HASHED_AT_ONCE):
                digest.update(part)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    return digest.hexdigest()


def write_file(path: Path, content: bytes) -> None:
    """Write a file, and the folders above it, so that a reader sees the old one or the new one; see replaced_file."""
    with replaced_file(path) as temporary:
        temporary.write_bytes(content)


@contextmanager
def replaced_file(path: Path, *, flush: bool = True) -> Iterator[Path]:
    """Yield an empty file of the same folder that takes ``path``'s place when the block ends without an error.

    With ``flush`` its content is on the disk before that, so that a power cut leaves the old file or the new one.
    Raises CannotWrite where that is impossible, a full disk included; then nothing is left behind.
    """
    with _Part(path) as part:
        temporary = Path(part)
        os.close(_create(part))
        yield temporary
        if flush:
            _flush(temporary)
        temporary.replace(path)


def part_of(path: Path) -> Path:
    """Return the name of a file that is being written. It is the same at every attempt, so that the file of a killed
    process is replaced."""
    return Path(_part_name(path))


def _part_name(path: str | Path) -> str:
    folder, slash, name = str(path).rpartition(os.sep)
    return f"{folder}{slash}.{hashlib.sha256(os.fsencode(name)).hexdigest()[:16]}.part"


def write_part(path: str | Path, content: bytes) -> None:
    """Write all of ``path`` beside it, as ``part_of`` names it, for ``place_part``; raises CannotWrite."""
    with _Part(path) as part:
        # Not closed and opened again: file systems put what replaces a file's content on the disk at once.
        handle = _create(part)
        try:
            write_all(handle, content)
        finally:
            os.close(handle)


def place_part(path: str | Path) -> None:
    """Move what ``write_part`` wrote into its place; raises CannotWrite, and then nothing is left behind."""
    with _Part(path) as part:
        os.replace(part, path)  # noqa: PTH105 - Path's takes several times as long, which counts for small faces


def remove_part(path: str | Path) -> None:
    """Remove what ``write_part`` wrote, if it is there."""
    with suppress(OSError):
        part_of(Path(path)).unlink()


def write_all(handle: int, content: bytes) -> None:
    """Write to an open file; raises OSError. A full disk takes only a part at first."""
    while content:
        content = content[os.write(handle, content) :]


class _Part:
    """The name of ``part_of(path)`` for a block: what fails in it leaves no such file, and an OSError becomes
    CannotWrite. (A generator with @contextmanager takes three times as long, which counts for small faces.)
    """

    __slots__ = ("_part", "_path")

    def __init__(self, path: str | Path) -> None:
        self._path = path
        self._part = _part_name(path)

    def __enter__(self) -> str:
        return self._part

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            return
        with suppress(OSError):
            Path(self._part).unlink()
        if isinstance(error, OSError):
            raise CannotWrite(f"{self._path}: cannot be written: {error.strerror or error}", error.errno) from error


def status(path: Path, *, follow: bool = True) -> os.stat_result | None:
    """Return the status of a path, or of the link itself without ``follow``; None where there is none.

    Unlike Path.exists, this does not raise for a name that is too long or a folder without permission.
    """
    try:
        return path.stat() if follow else path.lstat()
    except (OSError, ValueError):
        return None


def is_folder(path: Path) -> bool:
    """Tell whether a path is a folder or a link to one; never raises."""
    found = status(path)
    return found is not None and stat.S_ISDIR(found.st_mode)


def is_link(path: Path) -> bool:
    """Tell whether a path is a symbolic link; never raises."""
    found = status(path, follow=False)
    return found is not None and stat.S_ISLNK(found.st_mode)


def name_below(path: str | Path, folder: Path) -> str:
    """Return ``str(path.relative_to(folder))``, in a tenth of its time where ``path`` begins with ``folder``."""
    name, above = str(path), f"{folder}{os.sep}"
    return name[len(above) :] if name.startswith(above) else str(Path(path).relative_to(folder))


def suffix_of(path: str) -> str:
    """Return ``Path(path).suffix`` in a third of its time."""
    stem, dot, end = path.rpartition(os.sep)[2].rpartition(".")
    return f".{end}" if dot and stem and end else ""


def make_folder(path: Path) -> None:
    """Make a folder and those above it unless it is there; raises OSError where that is impossible."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        path.stat()  # of a link that leads nowhere, this says so
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path)) from None


def _read_all(handle: int, size: int) -> bytes:
    """Return the content of an open file of ``size`` bytes, which may grow or shrink meanwhile."""
    content = os.read(handle, min(size + 1, _READ_AT_ONCE))
    if len(content) == size:  # one more byte was asked for, so this is its end
        return content
    parts = [content]
    while part := os.read(handle, min(size + 1, _READ_AT_ONCE)):
        parts.append(part)
    return b"".join(parts)


def _open_regular(path: str | Path) -> tuple[int, int]:
    """Return the open handle and the size of a file, not of a pipe or a folder."""
    handle = os.open(path, _READ)
    found = os.fstat(handle)
    if not stat.S_ISREG(found.st_mode):
        os.close(handle)
        raise InputError(f"{path}: not a file")
    return handle, found.st_size


def _create(path: str) -> int:
    """Make an empty file and the folders above it, and return its open handle.

    A file of that name is replaced; a link is not followed.
    """
    exclusive = os.O_CREAT | os.O_EXCL | os.O_WRONLY
    try:
        handle = os.open(path, exclusive, 0o666)
    except FileExistsError:
        Path(path).unlink()
        handle = os.open(path, exclusive, 0o666)
    except FileNotFoundError:
        make_folder(Path(path).parent)
        handle = os.open(path, exclusive, 0o666)
    return handle


def _flush(path: Path) -> None:
    with path.open("r+b") as stream:
        os.fsync(stream.fileno())
