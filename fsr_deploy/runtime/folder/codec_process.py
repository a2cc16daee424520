"""The inside of a process that decodes and encodes faces for a run; see ``processes``."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from multiprocessing.connection import Connection, wait
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fsr_deploy._util.files import suffix_of
from fsr_deploy._util.sizes import Shape
from fsr_deploy.errors import InputError
from fsr_deploy.images.codec import Frame
from fsr_deploy.images.colour import ColourChange
from fsr_deploy.images.opencv import cv2
from fsr_deploy.images.resize import Face, Fit, lr_face
from fsr_deploy.runtime.folder.budget import OverBudget, Share
from fsr_deploy.runtime.folder.journal import JournalView, face_key
from fsr_deploy.runtime.folder.steps import BYTES_AT_ONCE, Load, read_once
from fsr_deploy.runtime.folder.write import Written, write_beside

ENDING = (signal.SIGINT, signal.SIGTERM)


class Aside(Enum):
    """A frame that a process has no LR face of."""

    DONE = "an earlier run made its output"
    TOO_LARGE = "it takes more memory than a process may have"


# What a process tells of a frame: its SHA-256, its (height, width) and what was done to its colours, where its LR face
# is there too; otherwise why it is not, in words where it could not be read.
Decoded = tuple[str, Shape, frozenset[ColourChange]]
Tidings = Decoded | Aside | str


@dataclass(frozen=True)
class Reader:
    """``Load`` for a process of its own: with its share of the bytes, and what it may know of the journal."""

    lr_shape: Shape
    fit: Fit
    made_with: str
    batches: Sequence[int]
    share: Share
    view: JournalView | None

    @classmethod
    def of(cls, load: Load, count: int) -> Reader:
        """Return the reader for one of ``count`` processes."""
        view = load.journal.view() if load.journal else None
        share = Share(BYTES_AT_ONCE // count)
        return cls(load.engine.lr_shape, load.fit, load.made_with, load.batches, share, view)

    def __call__(self, source: str, target: str, face: Face) -> Tidings:
        """Read a frame and put its LR face into ``face``."""

        def is_done(sha256: str) -> bool:
            view = self.view
            return view is not None and view.has(target, lambda: self._keys(target, sha256))

        def prepare(sha256: str, frame: Frame) -> Decoded:
            face[:] = lr_face(frame.pixels, self.lr_shape, self.fit)
            return sha256, frame.pixels.shape[:2], frame.changes

        try:
            return read_once(source, self.share, self.share, is_done, prepare) or Aside.DONE
        except InputError as error:
            return str(error)
        except OverBudget:
            return Aside.TOO_LARGE

    def _keys(self, target: str, sha256: str) -> list[str]:
        return [face_key(sha256, suffix_of(target), self.made_with, batch) for batch in self.batches]


_read: Reader
_sr_groups: NDArray[np.uint8]


def serve(asked: Connection, read: Reader, memory: Any, shape: tuple[int, ...]) -> None:
    """Answer what is asked until the other end is closed, in a new process: for each function and what is given to it,
    what it returns and None, or None and the exception that it raises.

    The process ends with the one that started it; signals are for that one.
    """
    global _read, _sr_groups
    _read, _sr_groups = read, as_groups(memory, shape)
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    cv2.setNumThreads(1)
    with suppress(EOFError):
        while True:
            work, given = asked.recv()
            try:
                answer, error = work(given), None
            except Exception as fault:
                answer, error = None, fault
            asked.send((answer, error))


def as_groups(memory: Any, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return shared memory as groups of SR faces, (groups, faces, H, W, 3)."""
    return np.frombuffer(memory, np.uint8).reshape(shape)


def load_all(places: Sequence[tuple[str, str]]) -> tuple[float, tuple[list[Tidings], NDArray[np.uint8]]]:
    """Return the seconds that it took, what became of each frame with its (source, target), and an LR face for each,
    (n, h, w, 3), of any content where there is none.
    """
    start = time.perf_counter()
    faces = np.empty((len(places), *_read.lr_shape, 3), np.uint8)
    tidings = [_read(source, target, face) for (source, target), face in zip(places, faces, strict=True)]
    return time.perf_counter() - start, (tidings, faces)


def write_all(given: tuple[int, Sequence[str]]) -> tuple[float, list[Written]]:
    """Return the seconds that it took, and what ``write_beside`` returns for the SR faces of a group, for targets."""
    start = time.perf_counter()
    index, targets = given
    written = write_beside(list(zip(targets, _sr_groups[index], strict=False)))
    return time.perf_counter() - start, written


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)
