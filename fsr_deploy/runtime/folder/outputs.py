"""Files that exist at the outputs' paths when a run begins: earlier outputs, or files of others."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fsr_deploy._util.files import status
from fsr_deploy.errors import InputError
from fsr_deploy.runtime.folder.jobs import Work
from fsr_deploy.runtime.folder.journal import LOCK_NAME, NAME, Journal


@dataclass(frozen=True)
class Places:
    """``taken`` are the targets that exist, ``foreign`` those of them that no run wrote."""

    taken: frozenset[Path]
    foreign: tuple[Path, ...]


def look_at(
    targets: Iterable[Path],
    journal: Journal | None,
    in_order: Callable[[Callable[[Path], bool], Iterable[Path]], Iterable[bool]] = map,
) -> Places:
    """Check where outputs go; ``in_order`` maps a function that reads files over them, in threads if possible."""
    holds_files = cache(_holds_files)
    taken = [
        target for target in targets if holds_files(str(target).rpartition(os.sep)[0]) and status(target, follow=False)
    ]
    flags = in_order(journal.is_foreign if journal else _is_no_folder, taken)
    return Places(frozenset(taken), tuple(target for target, foreign in zip(taken, flags, strict=True) if foreign))


def _holds_files(folder: str) -> bool:
    """Tell whether outputs may be in a folder already: in a new one, none has to be looked for."""
    try:
        with os.scandir(folder or ".") as entries:
            return any(entry.name not in (NAME, LOCK_NAME) for entry in entries)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError):
        return True


def refuse_to_replace(places: Places, work: Work) -> None:
    """Raise InputError where an output would replace a file that no run wrote, or that was changed since."""
    if not places.foreign:
        return
    first = places.foreign[0]
    if work.folder is None:
        raise InputError(f"{first}: already exists; name another output with -o, or add --overwrite")
    raise InputError(
        f"{work.folder}: files that no fsr-run wrote, or that were changed since, would be replaced:"
        f" {len(places.foreign)}, the first is {first}; name another folder with -o, or add --overwrite"
    )


def _is_no_folder(target: Path) -> bool:
    found = status(target, follow=False)
    return found is not None and not stat.S_ISDIR(found.st_mode)
