"""The three steps of the frame pipeline, each a callable from one value to the next."""

from __future__ import annotations

import errno
import hashlib
import os
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from fsr_deploy.colour import Change
from fsr_deploy.errors import InputError, MissingError
from fsr_deploy.files import CannotWrite, read_file, replaced_file, status
from fsr_deploy.images import decode_frame, encode_frame
from fsr_deploy.resize import Face, Fit, lr_face
from fsr_deploy.runtime.jobs import Job
from fsr_deploy.runtime.journal import Journal, face_key
from fsr_deploy.runtime.session import EngineInfo, OutOfMemory, Session

# What the system says of one name, while others of the same folder can be written.
_ONE_OUTPUT = {
    *(errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ, errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENOTEMPTY),
    *(errno.ENOENT, errno.ELOOP, errno.EBUSY, errno.ETXTBSY),
}
_REFUSED = {errno.EACCES, errno.EPERM}


@dataclass(frozen=True)
class Loaded:
    """A frame ready for the engine: its LR face (h, w, 3), and what is to be told about it.

    ``sha256`` is that of its file, ``size`` the (height, width) in pixels that it came with.
    """

    job: Job
    sha256: str
    face: Face
    size: tuple[int, int]
    changes: frozenset[Change]


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
    """Job -> what became of its frame: decoded and resized, or nothing to do, or unreadable.

    A frame is done where the journal has its face ``made_with`` the same things in one of the ``batches``; with None
    for a journal every frame is to be done.
    """

    engine: EngineInfo
    journal: Journal | None
    made_with: str
    batches: Sequence[int]
    fit: Fit

    def __call__(self, job: Job) -> Loaded | AlreadyDone | Failed:
        """Read a frame; never raises for what is wrong with it."""
        try:
            content = read_file(job.source)
            digest = hashlib.sha256(content).hexdigest()
            keys = [face_key(digest, job.target.suffix, self.made_with, batch) for batch in self.batches]
            if self.journal and self.journal.has(job.target, keys):
                return AlreadyDone(job)
            frame = decode_frame(content, job.source)
        except InputError as error:
            return Failed(job.source, str(error))
        face = lr_face(frame.pixels, self.engine.lr_shape, self.fit)
        return Loaded(job, digest, face, frame.pixels.shape[:2], frame.changes)


class Upscale:
    """Frames -> SR faces, always ``batch`` at a time: what is not full is filled up with its last face.

    Libraries choose their algorithms by the batch size, and a face may differ by a level between two of them; so that a
    run that was interrupted gives the same bytes as one that was not, there is one size for all. After OutOfMemory it
    is halved: before any face is made so, ``halved`` is told the size that was too large and the reason. At 1 that is a
    MissingError. Once ``stop`` is set, no batch is begun any more.
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
        """Return the frames' SR faces, none where the run was stopped before."""
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
        with self._halving:  # batches that are on their way at once run out of memory together
            if self.batch == batch:
                self._halved(batch, error)
                self.batch = batch // 2


def _parts(faces: Sequence[Face], size: int) -> Iterator[Face]:
    """Yield batches (size, h, w, 3) of all faces in order."""
    for start in range(0, len(faces), size):
        part = faces[start : start + size]
        yield np.stack([*part, *[part[-1]] * (size - len(part))])


@dataclass(frozen=True)
class Write:
    """SR face -> file, noted in the journal just before it is in its place.

    ``taken`` are the targets that something was in the place of when the run began and that may be replaced; None
    allows it for all.
    """

    journal: Journal | None
    folder: Path | None
    made_with: str
    taken: Collection[Path] | None

    def __call__(self, upscaled: Upscaled) -> Loaded | Failed:
        """Encode and write a face; raises InputError where no face can be written, or the only one cannot."""
        frame = upscaled.frame
        target = frame.job.target
        content = encode_frame(upscaled.face, target.suffix)
        try:
            if self.taken is not None and target not in self.taken and status(target, follow=False):
                raise CannotWrite(f"{target}: appeared while this ran and is left as it is", errno.EEXIST)
            with replaced_file(target, flush=False) as temporary:
                temporary.write_bytes(content)
                if self.journal:
                    key = face_key(frame.sha256, target.suffix, self.made_with, upscaled.batch)
                    self.journal.add(target, key, content)
        except CannotWrite as error:
            if self.folder and _is_about_one(error, self.folder):
                return Failed(frame.job.source, str(error))
            raise
        return frame


def _is_about_one(error: CannotWrite, folder: Path) -> bool:
    """Tell whether only this output cannot be written, not all of the folder."""
    effective = os.access in os.supports_effective_ids
    return error.number in _ONE_OUTPUT or (
        error.number in _REFUSED and os.access(folder, os.W_OK | os.X_OK, effective_ids=effective)
    )
