"""The journal of an output folder: what runs have written, so that the next run continues and touches nothing else. One
JSON line for each output, written before the output is moved into place. A file belongs to a run if its name and
SHA-256 are in a line, and to somebody else otherwise. This holds at whatever moment a run is killed.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import PIL

from fsr_deploy._util.files import file_sha256, make_folder, name_below, read_file, status, write_all
from fsr_deploy._util.locks import locked
from fsr_deploy.bundle.info import LR_RECIPE
from fsr_deploy.errors import InputError
from fsr_deploy.images.opencv import cv2
from fsr_deploy.runtime.session import EngineInfo, device_kind

NAME = ".fsr-run.jsonl"
LOCK_NAME = ".fsr-run.lock"
# Increase it when the same frame and engine give other bytes than before, for example by another decoder or quality.
RECIPE = "2"

_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)


def made_with(engine: EngineInfo, fit: str) -> str:
    """Return the hash of what all faces of a run depend on: engine, libraries, kind of device, our own recipe."""
    return _hash(engine.sha256, engine.engine, device_kind(engine.device), codecs(), fit, LR_RECIPE, RECIPE)


def codecs() -> str:
    """Return the libraries that read and write pictures, with their versions."""
    return f"OpenCV {cv2.__version__}, Pillow {PIL.__version__}"


def face_key(frame_sha256: str, suffix: str, made_with: str, batch: int) -> str:
    """Return the hash of everything a face depends on: its frame, its format, ``made_with`` and the batch it was in."""
    return _hash(frame_sha256, suffix.lower(), made_with, str(batch))


def _hash(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


@dataclass(frozen=True)
class JournalView:
    """What existed in an output folder at the start of a run and belongs to one: name -> key and SHA-256."""

    folder: Path
    finished: Mapping[str, tuple[str, str]]

    def has(self, target: str, keys: Callable[[], Collection[str]]) -> bool:
        """See ``Journal.has``."""
        if not self.finished:
            return False
        found = self.finished.get(name_below(target, self.folder).replace(os.sep, "/"))
        return found is not None and found[0] in keys()


class Journal:
    """The journal of an output folder; this process owns the folder until it is closed.

    Raises InputError where the folder cannot be written or another process is writing to it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / NAME
        self._writing = threading.Lock()
        self._stream: int | None = None
        self._written: dict[str, list[tuple[str, str]]] = {}
        self._batches: dict[tuple[str, int], list[int]] = {}
        self._finished: dict[str, tuple[str, str]] = {}
        self._frames: dict[tuple[str, str], tuple[list[Any], int]] = {}
        self._boxes: set[str] = set()
        self._found: dict[str, tuple[list[Any], bool]] = {}
        with ExitStack() as stack:
            try:
                make_folder(folder)
                busy = f"{folder}: another fsr-run is writing here; wait for it or name another -o"
                stack.enter_context(locked(folder / LOCK_NAME, busy))
            except OSError as error:
                raise InputError(f"{folder}: cannot be written: {error.strerror}") from error
            self._read()
            self._closing = stack.pop_all()

    def is_foreign(self, target: Path) -> bool:
        """Tell whether an output's place holds a file that no run wrote, or that was changed since. Call it for every
        target at the start; ``has`` then knows the files that belong to a run. False for a folder, which is never
        replaced. May be called from any thread.
        """
        found = status(target, follow=False)
        if found is None or stat.S_ISDIR(found.st_mode):
            return False
        name = self._name(target)
        if not stat.S_ISREG(found.st_mode) or name not in self._written:
            return True
        if found.st_size == 0:  # a power cut leaves empty files: there is nothing to lose
            return False
        try:
            digest = file_sha256(target)
        except InputError:
            return True
        keys = [key for written, key in self._written[name] if written == digest]
        if keys:
            self._finished[name] = (keys[-1], digest)
        return not keys

    def has(self, target: Path, keys: Collection[str]) -> bool:
        """Tell whether an output existed at the start, belongs to a run, and was made as one of the keys says."""
        found = self.finished(target)
        return found is not None and found[0] in keys

    def view(self) -> JournalView:
        """Return what other processes may know of it."""
        return JournalView(self._folder, self._finished)

    def finished(self, target: Path) -> tuple[str, str] | None:
        """Return the key and the SHA-256 of an output that existed at the start and belongs to a run."""
        return self._finished.get(self._name(target))

    def add(self, target: Path, key: str, content: bytes) -> None:
        """Record an output that is about to be moved into place; may be called from any thread.

        Raises InputError where the journal cannot be written, as ``add_batch`` does.
        """
        self.add_hashed(target, key, hashlib.sha256(content).hexdigest())

    def add_hashed(self, target: Path, key: str, sha256: str) -> None:
        """As ``add``, for an output that is known by its SHA-256."""
        self.add_all([(target, key, sha256)])

    def add_all(self, outputs: Iterable[tuple[str | Path, str, str]]) -> None:
        """As ``add_hashed``, for outputs with keys and SHA-256, in one go: none is moved before all are recorded."""
        self._append("".join(_output_line(self._name(target), key, sha256) for target, key, sha256 in outputs))

    def is_ours(self, target: Path) -> bool:
        """Tell whether a file existed at the start as some run had written it."""
        return self._name(target) in self._finished

    def add_frame(self, target: Path, key: str, faces: list[Any], outputs: int) -> None:
        """Record the faces of a whole frame, plain data, and how many outputs are about to be made of it; ``target`` is
        the frame's own, whether it is one of them or not."""
        self._append(_line(frame=self._name(target), key=key, faces=faces, outputs=outputs))

    def frame(self, target: Path, key: str) -> tuple[list[Any], int] | None:
        """Return the faces and the number of outputs of a whole frame that was made as the key says."""
        return self._frames.get((self._name(target), key))

    def add_found(self, key: str, rows: list[Any], whole: bool) -> None:
        """Record what a search has found since it was recorded last, plain data, and whether that is all there is."""
        self._append(_line(search=key, found=rows, whole=whole))

    def found(self, key: str) -> tuple[list[Any], bool]:
        """Return what earlier runs have found in the search with a key, and whether that is all there is."""
        return self._found.get(key, ([], False))

    def add_boxes(self, content: bytes) -> None:
        """Record a file of boxes that is about to be written."""
        self._append(_line(boxes=hashlib.sha256(content).hexdigest()))

    def is_our_boxes(self, content: bytes) -> bool:
        """Tell whether a file of boxes is one that a run with this journal wrote."""
        return hashlib.sha256(content).hexdigest() in self._boxes

    def batches(self, made_with: str, asked: int) -> list[int]:
        """Return the smaller batches that earlier runs with ``asked`` had to use, the latest last."""
        return self._batches.get((made_with, asked), [])

    def add_batch(self, made_with: str, asked: int, batch: int) -> None:
        """Record the batch that is used from now on instead of ``asked``."""
        self._append(_line(made_with=made_with, asked=asked, batch=batch))

    def close(self) -> None:
        """Let others write to the folder."""
        with self._closing:
            if self._stream is not None:
                os.close(self._stream)

    def _name(self, target: str | Path) -> str:
        return name_below(target, self._folder).replace(os.sep, "/")

    def _read(self) -> None:
        """Read the lines; a line that a crash cut off is ignored."""
        content = read_file(self._path) if status(self._path, follow=False) else b""
        for line in _lines(content):
            match line:
                case {"output": str(name), "key": str(key), "sha256": str(digest)}:
                    self._written.setdefault(name, []).append((digest, key))
                case {"made_with": str(made_with), "asked": int(asked), "batch": int(batch)} if batch > 0:
                    self._batches.setdefault((made_with, asked), []).append(batch)
                case {"frame": str(name), "key": str(key), "faces": list(faces), "outputs": int(outputs)}:
                    self._frames[name, key] = (faces, outputs)
                case {"search": str(key), "found": list(rows), "whole": bool(whole)}:
                    self._found[key] = (self.found(key)[0] + rows, whole)
                case {"boxes": str(digest)}:
                    self._boxes.add(digest)
        self._cut_off = bool(content) and not content.endswith(b"\n")

    def _append(self, lines: str) -> None:
        content = lines.encode()
        try:
            with self._writing:
                if self._stream is None:
                    self._stream = os.open(self._path, _APPEND, 0o666)
                    content = b"\n" + content if self._cut_off else content
                write_all(self._stream, content)
        except OSError as error:
            raise InputError(f"{self._path}: cannot be written: {error.strerror}") from error


def _line(**facts: Any) -> str:
    return json.dumps(facts) + "\n"


def _output_line(name: str, key: str, sha256: str) -> str:
    """Return ``_line(output=name, key=key, sha256=sha256)`` in a third of its time."""
    return f'{{"output": {json.dumps(name)}, "key": {json.dumps(key)}, "sha256": {json.dumps(sha256)}}}\n'


def _lines(content: bytes) -> Iterator[Any]:
    for text in io.BytesIO(content):
        try:
            yield json.loads(text)
        except (ValueError, RecursionError):
            continue
