"""The three steps of the frame pipeline, each a callable from one value to the next."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from fsr_deploy.errors import InputError, MissingError
from fsr_deploy.files import read_file, write_file
from fsr_deploy.images import decode_frame, encode_frame
from fsr_deploy.resize import Face, Fit, lr_face
from fsr_deploy.runtime.jobs import Job
from fsr_deploy.runtime.journal import Journal, job_key
from fsr_deploy.runtime.session import Batch, EngineInfo, OutOfMemory, Session


@dataclass(frozen=True)
class Loaded:
    """A frame ready for the engine: its LR face (h, w, 3), and what is to be told about it.

    ``key`` is its journal key, ``size`` the (height, width) in pixels that it came with.
    """

    job: Job
    key: str
    face: Face
    size: tuple[int, int]
    had_alpha: bool


@dataclass(frozen=True)
class Upscaled:
    """A frame that the engine is done with: its SR face (H, W, 3)."""

    frame: Loaded
    face: Face


@dataclass(frozen=True)
class AlreadyDone:
    """A frame whose output an earlier run made."""

    job: Job


@dataclass(frozen=True)
class Failed:
    """A frame that could not be read, and why."""

    job: Job
    reason: str


@dataclass(frozen=True)
class Load:
    """Job -> what became of its frame: decoded and resized, or nothing to do, or unreadable."""

    engine: EngineInfo
    journal: Journal | None
    resume: bool
    fit: Fit = "crop"

    def __call__(self, job: Job) -> Loaded | AlreadyDone | Failed:
        """Read a frame; never raises for what is wrong with it."""
        try:
            content = read_file(job.source)
            key = job_key(content, self.engine.sha256, job.target.suffix, self.fit)
            if self.resume and self.journal and self.journal.has(job.target, key):
                return AlreadyDone(job)
            frame = decode_frame(content, job.source)
        except InputError as error:
            return Failed(job, str(error))
        face = lr_face(frame.pixels, self.engine.lr_shape, self.fit)
        return Loaded(job, key, face, frame.pixels.shape[:2], frame.had_alpha)


class Upscale:
    """Frames -> SR faces, always ``batch`` at a time: a batch that is not full is filled up with its last face.

    Libraries choose their algorithms by the batch size, and a face may differ by a level between two of them; so that a
    run that was interrupted gives the same bytes as one that was not, there is one size for all. After OutOfMemory it
    is halved, with a notice; at 1 that is a MissingError. Once ``stop`` is set, no batch is begun any more.
    """

    def __init__(self, session: Session, batch: int, stop: threading.Event, notice: Callable[[str], None]) -> None:
        self._session = session
        self._batch = self._limit = batch
        self._stop = stop
        self._notice = notice

    def __call__(self, frames: Sequence[Loaded]) -> list[Upscaled]:
        """Return the frames' SR faces, none where the run was stopped before."""
        if self._stop.is_set():
            return []
        filled = [frame.face for frame in frames] + [frames[-1].face] * (self._batch - len(frames))
        faces = self._upscale(np.stack(filled))
        return [Upscaled(frame, face) for frame, face in zip(frames, faces, strict=False)]

    def _upscale(self, batch: Batch) -> Batch:
        while True:
            limit = self._limit
            try:
                parts = [self._session.upscale(batch[i : i + limit]) for i in range(0, len(batch), limit)]
                return np.concatenate(parts)
            except OutOfMemory as error:
                if limit == 1:
                    raise MissingError(
                        f"not even one face fits into the memory of {self._session.info.device}: {error};"
                        " free some or take a smaller model"
                    ) from error
                self._notice(f"out of memory at batch {limit}, going on with {limit // 2}: {error}")
                self._limit = min(self._limit, limit // 2)


@dataclass(frozen=True)
class Write:
    """SR face -> file, noted in the journal once it is in its place."""

    journal: Journal | None

    def __call__(self, upscaled: Upscaled) -> Loaded:
        """Encode and write a face; raises InputError where that is impossible."""
        frame = upscaled.frame
        target = frame.job.target
        content = encode_frame(upscaled.face, target.suffix)
        write_file(target, content)
        if self.journal:
            self.journal.add(target, frame.key, content)
        return frame
