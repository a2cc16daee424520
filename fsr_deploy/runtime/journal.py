"""What a run has finished, so that the next one can go on from there, whatever ended the first."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fsr_deploy.bundle import LR_RECIPE
from fsr_deploy.errors import InputError

NAME = ".fsr-run.jsonl"
# Raise it whenever the same frame and engine give other bytes than before: another decoding, another quality.
RECIPE = "2"


@dataclass(frozen=True)
class Entry:
    """One finished output: the key of what it was made from, and the SHA-256 of what was written."""

    key: str
    sha256: str


def job_key(frame: bytes, engine_sha256: str, suffix: str, fit: str) -> str:
    """Return the hash of everything an output depends on: the frame's content, how it is fitted, the engine, how it
    is written.
    """
    parts = (hashlib.sha256(frame).hexdigest(), engine_sha256, suffix.lower(), fit, LR_RECIPE, RECIPE)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


class Journal:
    """Finished outputs of a folder, one JSON line each, written after the output is in its place.

    A process killed between the two makes the output once more, with the same bytes. Raises InputError where the
    folder cannot be written or another process is writing to it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._stream = (folder / NAME).open("a+b", buffering=0)
        except OSError as error:
            raise InputError(f"{folder}: cannot be written: {error.strerror}") from error
        _lock_file(self._stream.fileno(), folder)
        self._entries = dict(self._read())

    def has(self, target: Path, key: str) -> bool:
        """Tell whether the output is there, made from the same things, and not altered since."""
        entry = self._entries.get(self._name(target))
        if entry is None or entry.key != key:
            return False
        try:
            return hashlib.sha256(target.read_bytes()).hexdigest() == entry.sha256
        except OSError:
            return False

    def add(self, target: Path, key: str, content: bytes) -> None:
        """Note that an output is finished; may be called from any thread."""
        line = {"output": self._name(target), "key": key, "sha256": hashlib.sha256(content).hexdigest()}
        with self._lock:
            self._stream.write(json.dumps(line).encode() + b"\n")

    def close(self) -> None:
        """Let others write to the folder."""
        self._stream.close()

    def _name(self, target: Path) -> str:
        return target.relative_to(self._folder).as_posix()

    def _read(self) -> Iterator[tuple[str, Entry]]:
        """Yield the entries; a line that a crash cut off is passed over, and ended so that the next stays apart."""
        self._stream.seek(0)
        content = self._stream.read()
        if content and not content.endswith(b"\n"):
            self._stream.write(b"\n")
        for text in content.splitlines():
            line = _parse(text)
            if isinstance(line, dict) and all(isinstance(line.get(name), str) for name in ("output", "key", "sha256")):
                yield line["output"], Entry(line["key"], line["sha256"])


def _parse(text: bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _lock_file(handle: int, folder: Path) -> None:
    """Keep other processes from the folder until this one closes the file or ends."""
    if os.name != "posix":
        return
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise InputError(f"{folder}: another fsr-run is writing here; wait for it or name another -o") from None
