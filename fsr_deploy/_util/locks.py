"""A lock file, so that two processes do not write to one place."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fsr_deploy._util.log import warn
from fsr_deploy.errors import InputError

# The errors of file systems without locks, such as some network file systems.
_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP}
# A process removes its lock file when it is done. If we opened it just before that, we must open it again.
_PATIENCE_SECONDS = 0.5


@contextmanager
def locked(path: Path, busy: str) -> Iterator[None]:
    """Hold the lock file ``path`` for the length of the block; it is removed at the end, or with the next lock.

    Raises InputError with the message ``busy`` where another process holds it, and OSError where the file cannot be
    made. Where the file system has no locks, that is a warning, and the block runs unguarded.
    """
    import filelock

    lock = filelock.FileLock(path, timeout=_PATIENCE_SECONDS, thread_local=False, fallback_to_soft=False)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise InputError(busy) from None
    except (OSError, NotImplementedError) as error:
        if isinstance(error, OSError) and error.errno not in _NO_LOCKS:
            raise
        warn(f"{path.parent}: this file system has no locks; let no other process write here at the same time")
    try:
        yield
    finally:
        # Removed while it is held: a process that waits for this file sees that it is gone and makes a new one.
        with suppress(OSError):
            path.unlink()
        lock.release()
