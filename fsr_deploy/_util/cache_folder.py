"""The folder for results that take long and can be computed again: calibration ranges, kernel timings.

A cache never stops a command. Without a folder that can be written, there is one warning and no cache.
"""

from __future__ import annotations

import os
from pathlib import Path

from fsr_deploy._util.files import write_file
from fsr_deploy._util.log import warn
from fsr_deploy.errors import InputError

VARIABLE = "FSR_CACHE"
_warned: set[str] = set()


def find_cache() -> Path:
    """Return the cache's folder, which may not exist yet: FSR_CACHE, or fsr-deploy in the user's cache directory.

    Raises RuntimeError where there is none: a container's user without an entry in /etc/passwd has no home.
    """
    if chosen := os.environ.get(VARIABLE):
        return Path(chosen)
    users = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(users) if Path(users).is_absolute() else Path.home() / ".cache") / "fsr-deploy"


def cache_folder() -> Path | None:
    """Return the cache's folder, or None with one warning where there is none."""
    try:
        return find_cache()
    except RuntimeError:
        _warn_once("", f"nothing is cached: this user has no home directory; name a folder with {VARIABLE}=FOLDER")
        return None


def find(path: Path | None) -> bytes:
    """Return the content of a file of the cache, nothing where there is none that can be read."""
    try:
        return path.read_bytes() if path else b""
    except OSError:
        return b""


def keep(path: Path, content: bytes) -> None:
    """Write a file of the cache, whole or not at all; a folder that cannot be written costs one warning."""
    try:
        write_file(path, content)
    except InputError as error:
        _warn_once(str(path.parent), f"not cached: {error}; {VARIABLE} names another folder")


def _warn_once(about: str, message: str) -> None:
    if about not in _warned:
        _warned.add(about)
        warn(message)
