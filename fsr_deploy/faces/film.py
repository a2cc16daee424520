"""Whole frames of films: the frames with SR faces, by number."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import astuple

from fsr_deploy.errors import InputError
from fsr_deploy.faces.cutting import Frame
from fsr_deploy.faces.face import Face
from fsr_deploy.faces.folder import RECIPE
from fsr_deploy.faces.restorer import FrameRestorer
from fsr_deploy.runtime.folder.journal import made_with
from fsr_deploy.runtime.folder.sizes import SizeCount
from fsr_deploy.runtime.folder.summary import FaceCount
from fsr_deploy.runtime.session import Session


class FilmFrames:
    """Restores frames of a film whose faces are ``known`` by the frame's number; a number without any has none.

    ``together`` frames are restored at a time. A face that cannot be used is left out, and ``failures`` has the reason
    by the frame's number. ``count`` counts the faces, ``sizes`` those of each size. May be called from several threads.
    """

    def __init__(
        self, session: Session, restorer: FrameRestorer, known: Mapping[int, Sequence[Face]], together: int = 8
    ) -> None:
        self.batch = together
        self.in_flight = session.in_flight
        self.failures: dict[int, str] = {}
        self.count = FaceCount(session.info.sr_shape)
        self.sizes = SizeCount(session.info.lr_shape, resizable=session.info.resizable, what="faces")
        self._restorer, self._known, self._lock = restorer, known, threading.Lock()
        faces = repr(sorted((number, tuple(found)) for number, found in known.items()))
        settings = (*astuple(restorer.settings), session.info.template, restorer.batches.size)
        recipe = "\n".join((RECIPE, repr(settings), faces))
        self.made_with = made_with(session.info, recipe)

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Return the (width, height) of the new frames; raises InputError where they would be too large."""
        return self._restorer.size(width, height)

    def restore(self, frames: Sequence[Frame], first: int) -> list[Frame]:
        """Return frames ``first``, first + 1 and so on of the film, (h, w, 3) RGB, enlarged and with SR faces."""
        faces = [self._good(number, frame) for number, frame in enumerate(frames, first)]
        restored = self._restorer.restore_all(frames, faces)
        with self._lock:
            for one, frame in zip(restored, frames, strict=True):
                self.count.add(len(one.faces), len(one.faces) + one.skipped)
                for face in one.faces:
                    region = self._restorer.check(face, frame.shape)
                    self.sizes.add((round(region.height), round(region.width)))
        return [one.frame for one in restored if one.frame is not None]

    def _good(self, number: int, frame: Frame) -> list[Face]:
        """Return the faces of a frame that can be used."""
        good = []
        for face in self._known.get(number, ()):
            try:
                self._restorer.check(face, frame.shape)
            except InputError as error:
                self.failures[number] = str(error)
            else:
                good.append(face)
        return good
