"""Publishing a bundle: built beside its destination, flushed to disk, then put in its place in one step."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from fsr_deploy._util.files import make_folder
from fsr_deploy._util.locks import locked
from fsr_deploy.bundle.info import (
    INFO_NAME,
    LAYERS_NAME,
    ONNX_NAME,
    PICTURE_NAME,
    PLAN_NAME,
    REFERENCE_NAME,
    REPORT_NAME,
    SBOM_NAME,
    SIGNATURE_NAME,
    read_bundle,
)
from fsr_deploy.errors import InputError

_KNOWN_NAMES = {
    INFO_NAME,
    ONNX_NAME,
    PLAN_NAME,
    REFERENCE_NAME,
    REPORT_NAME,
    PICTURE_NAME,
    LAYERS_NAME,
    SBOM_NAME,
    SIGNATURE_NAME,
}
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


@contextmanager
def staged_directory(
    destination: Path, refuse: Callable[[Path], None] | None = None, workplace: Path | None = None
) -> Iterator[Path]:
    """Yield an empty directory that takes the destination's place when the block ends without an error.

    Killed at any moment, this leaves the old bundle or the new one, and the next run clears what stands beside it. A
    reader that straddles the exchange may open one file of each; their SHA-256 tell. ``refuse`` raises InputError for
    a destination that must not be replaced, by default for anything but a bundle. ``workplace`` is where the directory
    is prepared, on the same file system, by default a hidden folder beside the destination. Raises InputError also for
    a destination that has a second writer, or cannot be written, a full disk included.
    """
    destination = Path(os.path.realpath(destination))
    refuse = refuse or refuse_other_contents
    refuse(destination)
    workplace = workplace or destination.with_name(f".{destination.name}.fsr-export")
    with _held(workplace, destination):
        staging = workplace / "new"
        staging.mkdir()
        try:
            yield staging
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise InputError(f"{destination}: cannot be written: {error.strerror}") from error
            raise
        refuse(destination)
        with _named_errors(destination):
            for path in (*staging.rglob("*"), staging):
                _fsync(path)
            make_folder(destination.parent)
            _put(staging, destination, workplace / "old")
            _fsync(destination.parent)


def refuse_other_contents(destination: Path) -> None:
    """Raise InputError unless the destination is free, an empty directory, or a bundle with nothing else in it."""
    with _named_errors(destination):
        if not destination.exists():
            return
        if not destination.is_dir():
            raise InputError(f"{destination}: a file; name a directory with -o")
        if Path.cwd().is_relative_to(os.path.realpath(destination)):
            raise InputError(f"{destination}: the current directory is in it; name another directory with -o")
        found = {path.name for path in destination.iterdir()}
    if found and INFO_NAME not in found:
        raise InputError(f"{destination}: not empty and not a bundle; name another directory with -o")
    if others := sorted(found - _KNOWN_NAMES - _listed(destination)):
        raise InputError(
            f"{destination}: holds files that no export wrote and that would be lost ({', '.join(others[:3])}); "
            "move them away, or name another directory with -o"
        )


def _listed(directory: Path) -> set[str]:
    """Return the files that a bundle names as its own; a damaged one names none and may still be replaced."""
    try:
        return set(read_bundle(directory).info.files)
    except InputError:
        return set()


@contextmanager
def _held(path: Path, destination: Path) -> Iterator[None]:
    """Make an empty directory that belongs to this process until the block ends."""
    with ExitStack() as stack:
        with _named_errors(destination):
            make_folder(path.parent)
            busy = f"{destination}: another export is writing it; wait for that one to end"
            stack.enter_context(locked(path.with_name(f"{path.name}.lock"), busy))
            _clear(path, destination)
            path.mkdir(mode=0o700)
        stack.callback(shutil.rmtree, path, ignore_errors=True)
        yield


def _clear(workplace: Path, destination: Path) -> None:
    """Remove what a killed run left; a bundle that it had put aside and not replaced goes back to its place."""
    if workplace.is_symlink():
        workplace.unlink()  # a link that someone planted: its target is not a staging directory
    elif workplace.exists():
        if (workplace / "old").exists() and not destination.exists():
            (workplace / "old").rename(destination)
        shutil.rmtree(workplace)


def _put(staging: Path, destination: Path, aside: Path) -> None:
    """Rename ``staging`` to ``destination``, exchanging the two where there is one and the system can."""
    if not destination.exists():
        staging.rename(destination)
    elif not _exchange(staging, destination):
        destination.rename(aside)
        try:
            staging.rename(destination)
        except OSError:
            aside.rename(destination)
            raise


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two directories at once by Linux's renameat2; returns False where the system does not offer it."""
    if sys.platform != "linux":
        return False
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    if renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP):
        return False
    raise OSError(number, os.strerror(number), str(other))


@contextmanager
def _named_errors(destination: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(f"{destination}: cannot be written: {error.strerror or error}") from error


def _fsync(path: Path) -> None:
    if os.name == "nt" and path.is_dir():  # Windows opens no directories
        return
    handle = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
