"""What is done to the frames of a film: one small protocol, and the film as a series of faces."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from fsr_deploy.films.colour import Pixels
from fsr_deploy.images.resize import Face, Fit, lr_face
from fsr_deploy.runtime.batches import Batches
from fsr_deploy.runtime.folder.journal import made_with
from fsr_deploy.runtime.session import OutOfMemory, Session


class Restorer(Protocol):
    """Turns a film's frames into those of the new film.

    ``restore`` is called from ``in_flight`` threads at a time, with up to ``batch`` frames that follow each other.
    Batches are the same in every run of a film, and a run that goes on skips some: so a frame of the new film depends
    on the frames of its batch and their numbers only, and not on earlier calls. ``made_with`` is a hash of everything
    else that it depends on.
    """

    @property
    def batch(self) -> int:
        """The largest number of frames that ``restore`` takes at a time."""
        ...

    @property
    def in_flight(self) -> int:
        """How many threads should call ``restore`` at the same time."""
        ...

    @property
    def made_with(self) -> str:
        """A hash of what the new frames depend on, beside the old ones."""
        ...

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Return the (width, height) of the new frames for old ones of a size, in pixels."""
        ...

    def restore(self, frames: Sequence[Pixels], first: int) -> list[Pixels]:
        """Return the new frames, (H, W, 3) RGB, for old ones (h, w, 3), upright.

        Both are uint8, or uint16 over 0..65535 for films of more than 8 bits. ``first`` is the number of the first
        frame in the film, from 0.
        """
        ...


class WholeFaces:
    """Every frame of the film is one face: fitted to the engine's LR face, upscaled, and its SR face is the new frame.

    The engine computes with 8 bits; the frames of a film with more are rounded to 8 before it.
    """

    def __init__(self, session: Session, batch: int, fit: Fit, notice: Callable[[str], None]) -> None:
        self._session = session
        self._fit = fit
        self._notice = notice
        self._upscale = Batches(session, batch, self._halved)
        self.batch = batch
        self.in_flight = session.in_flight
        self.made_with = made_with(session.info, fit)

    @property
    def smallest_batch(self) -> int:
        """The batch that was used last; smaller than ``batch`` if memory ran out."""
        return self._upscale.size

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Return the size of an SR face, whatever the frames' is."""
        return self._session.info.sr_shape[1], self._session.info.sr_shape[0]

    def restore(self, frames: Sequence[Pixels], first: int) -> list[Pixels]:
        """Return the SR face of each frame."""
        deep = frames[0].dtype == np.uint16
        faces, _ = self._upscale([self._lr_face(frame) for frame in frames])
        return [np.multiply(face, 257, dtype=np.uint16) for face in faces] if deep else list(faces)

    def _lr_face(self, frame: Pixels) -> Face:
        eight = frame if frame.dtype == np.uint8 else ((frame.astype(np.uint32) + 128) // 257).astype(np.uint8)
        return lr_face(np.asarray(eight, np.uint8), self._session.info.lr_shape, self._fit)

    def _halved(self, batch: int, error: OutOfMemory) -> None:
        self._notice(f"out of memory at batch {batch}, going on with {batch // 2}: {error}")
