"""The steps of the frame pipeline up to the SR face, each a callable."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import numpy as np

from fsr_deploy.errors import InputError, MissingError
from fsr_deploy.images.codec import decode_frame, decoding_bytes, file_bytes, frame_header, read_picture
from fsr_deploy.images.colour import ColourChange
from fsr_deploy.images.header import ImageHeader
from fsr_deploy.images.resize import Face, Fit, lr_face
from fsr_deploy.runtime.folder.budget import ByteBudget
from fsr_deploy.runtime.folder.jobs import Job
from fsr_deploy.runtime.folder.journal import Journal, face_key
from fsr_deploy.runtime.session import EngineInfo, OutOfMemory, Session

# The limit for files, and the same for decoded pixels; a single picture above it is decoded alone.
BYTES_AT_ONCE = 1 << 30


@dataclass(frozen=True)
class Loaded:
    """A frame ready for the engine: its LR face (h, w, 3), and facts for the summary. ``sha256`` is that of its file,
    ``size`` its original (height, width) in pixels.
    """

    job: Job
    sha256: str
    face: Face
    size: tuple[int, int]
    changes: frozenset[ColourChange]


@dataclass(frozen=True)
class Upscaled:
    """A frame that the engine is done with: its SR face (H, W, 3), computed ``batch`` at a time."""

    frame: Loaded
    face: Face
    batch: int


@dataclass(frozen=True)
class AlreadyDone:
    """A frame whose output an earlier run made."""

    job: Job


@dataclass(frozen=True)
class Failed:
    """A path that could not be read, or whose output could not be written, and why."""

    source: Path
    reason: str


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
    reading: ByteBudget = field(default_factory=lambda: ByteBudget(BYTES_AT_ONCE))
    decoding: ByteBudget = field(default_factory=lambda: ByteBudget(BYTES_AT_ONCE))

    def __call__(self, job: Job) -> Loaded | AlreadyDone | Failed:
        """Read a frame; returns Failed instead of raising for a bad file."""
        try:
            with self.reading.hold(file_bytes(job.source)):
                return self._load(job, read_picture(job.source))
        except InputError as error:
            return Failed(job.source, str(error))

    def _load(self, job: Job, content: bytes) -> Loaded | AlreadyDone:
        digest = hashlib.sha256(content).hexdigest()
        keys = [face_key(digest, job.target.suffix, self.made_with, batch) for batch in self.batches]
        if self.journal and self.journal.has(job.target, keys):
            return AlreadyDone(job)
        header = frame_header(content, job.source)
        with self.decoding.hold(decoding_bytes(header)):
            return self._decode(job, digest, content, header)

    def _decode(self, job: Job, sha256: str, content: bytes, header: ImageHeader) -> Loaded:
        frame = decode_frame(content, job.source, header=header)
        # A copy, because a view would keep the whole frame in memory.
        face = np.array(lr_face(frame.pixels, self.engine.lr_shape, self.fit))
        return Loaded(job, sha256, face, frame.pixels.shape[:2], frame.changes)


class Upscale:
    """Frames -> SR faces, always ``batch`` at a time; a smaller batch is filled up with its last face. Libraries choose
    their algorithms by the batch size, and a face may differ by a level between two sizes. With one size for all, an
    interrupted run gives the same bytes as an uninterrupted one. After OutOfMemory the size is halved; before that size
    is used, ``halved`` is called with the size that was too large and the error. At size 1, MissingError is raised.
    Once ``stop`` is set, no batch is begun.
    """

    def __init__(
        self, session: Session, batch: int, stop: threading.Event, halved: Callable[[int, OutOfMemory], None]
    ) -> None:
        self.batch = batch
        self._session = session
        self._stop = stop
        self._halved = halved
        self._halving = threading.Lock()

    def __call__(self, frames: Sequence[Loaded]) -> list[Upscaled]:
        """Return the frames' SR faces, none if the run was stopped before."""
        if self._stop.is_set():
            return []
        while True:
            batch = self.batch
            try:
                faces = [self._session.upscale(part) for part in _parts([frame.face for frame in frames], batch)]
            except OutOfMemory as error:
                self._halve(batch, error)
            else:
                pairs = zip(frames, chain.from_iterable(faces), strict=False)
                return [Upscaled(frame, face, batch) for frame, face in pairs]

    def _halve(self, batch: int, error: OutOfMemory) -> None:
        if batch == 1:
            raise MissingError(
                f"not even one face fits into the memory of {self._session.info.device}: {error};"
                " free some or take a smaller model"
            ) from error
        with self._halving:  # batches that run at the same time run out of memory together
            if self.batch == batch:
                self._halved(batch, error)
                self.batch = batch // 2


def _parts(faces: Sequence[Face], size: int) -> Iterator[Face]:
    """Yield batches (size, h, w, 3) of all faces in order."""
    for start in range(0, len(faces), size):
        part = faces[start : start + size]
        yield np.stack([*part, *[part[-1]] * (size - len(part))])
