"""The steps of the frame pipeline up to the SR face, each a callable."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from fsr_deploy.errors import InputError
from fsr_deploy.images.codec import Frame, decode_frame, decoding_bytes, file_bytes, frame_header, read_picture
from fsr_deploy.images.colour import ColourChange
from fsr_deploy.images.resize import Face, Fit, lr_face
from fsr_deploy.runtime.folder.budget import Budget, ByteBudget
from fsr_deploy.runtime.folder.jobs import Job
from fsr_deploy.runtime.folder.journal import Journal, face_key
from fsr_deploy.runtime.session import EngineInfo

# The limit for files, and the same for decoded pixels; a single picture above it is decoded alone.
BYTES_AT_ONCE = 1 << 30

Prepared = TypeVar("Prepared")


@dataclass(frozen=True)
class Loaded:
    """A frame ready for the engine: its LR faces (h, w, 3), and facts for the summary. ``sha256`` is that of its file,
    ``sizes`` are the (height, width) in pixels of what became its LR faces; ``found`` is how many faces are in it,
    those included that are left as they are; ``held`` are the bytes that it keeps beside its LR faces.
    """

    job: Job
    sha256: str
    faces: Sequence[Face]
    sizes: Sequence[tuple[int, int]]
    changes: frozenset[ColourChange]
    found: int = 1
    held: int = 0


class Upscaled(NamedTuple):
    """A frame that the engine is done with: its SR faces (H, W, 3), computed ``batch`` at a time."""

    frame: Loaded
    faces: Sequence[Face]
    batch: int


@dataclass(frozen=True)
class AlreadyDone:
    """A frame whose output an earlier run made."""

    job: Job


@dataclass(frozen=True)
class Failed:
    """A path that could not be read, or whose output could not be written, and why. ``told`` tells that a line has said
    so already.
    """

    source: Path
    reason: str
    told: bool = False


@dataclass(frozen=True)
class Load:
    """Job -> its frame: decoded and resized, or already done, or unreadable. A frame is done if the journal has its
    face, ``made_with`` the same things in one of the ``batches``; without a journal no frame is done. All threads
    together hold a bounded number of bytes: files in ``reading``, pixels in ``decoding``.
    """

    engine: EngineInfo
    journal: Journal | None
    made_with: str
    batches: Sequence[int]
    fit: Fit = "crop"
    reading: Budget = field(default_factory=lambda: ByteBudget(BYTES_AT_ONCE))
    decoding: Budget = field(default_factory=lambda: ByteBudget(BYTES_AT_ONCE))

    def __call__(self, job: Job) -> Loaded | AlreadyDone | Failed:
        """Read a frame; returns Failed instead of raising for a bad file."""

        def is_done(sha256: str) -> bool:
            return self.is_done(job, sha256)

        def prepare(sha256: str, frame: Frame) -> Loaded:
            return self.prepare(job, sha256, frame)

        try:
            loaded = read_once(str(job.source), self.reading, self.decoding, is_done, prepare)
        except InputError as error:
            return Failed(job.source, str(error))
        return loaded or AlreadyDone(job)

    def is_done(self, job: Job, sha256: str) -> bool:
        """Tell whether an earlier run has made what becomes of a job's file."""
        return self.journal is not None and self.journal.has(job.target, self.keys(job, sha256))

    def keys(self, job: Job, sha256: str) -> list[str]:
        """Return what the journal says of a job's face where it is done, one for each of the batches."""
        return [face_key(sha256, job.target.suffix, self.made_with, batch) for batch in self.batches]

    def prepare(self, job: Job, sha256: str, frame: Frame) -> Loaded:
        """Make the LR faces of a decoded frame."""
        # A copy, because a view would keep the whole frame in memory.
        face = np.array(lr_face(frame.pixels, self.engine.lr_shape, self.fit))
        return Loaded(job, sha256, [face], [frame.pixels.shape[:2]], frame.changes)


def read_once(
    source: str,
    reading: Budget,
    decoding: Budget,
    is_done: Callable[[str], bool],
    prepare: Callable[[str, Frame], Prepared],
) -> Prepared | None:
    """Return what ``prepare`` makes of the SHA-256 of a picture's file and its frame, None for one that is done.

    The budgets are held meanwhile. Raises InputError where the picture cannot be read, and what the others raise.
    """
    size = file_bytes(source)
    with reading.hold(size):
        content = read_picture(source, size)
        sha256 = hashlib.sha256(content).hexdigest()
        if is_done(sha256):
            return None
        header = frame_header(content, source)
        with decoding.hold(decoding_bytes(header)):
            return prepare(sha256, decode_frame(content, source, header=header))
