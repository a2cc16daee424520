"""Any number of faces through a session, always so many at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from itertools import chain

import numpy as np

from fsr_deploy.errors import MissingError
from fsr_deploy.images.resize import Face
from fsr_deploy.runtime.session import OutOfMemory, Session


class Batches:
    """LR faces -> SR faces, always ``size`` at a time; a smaller batch is filled up with its last face. Libraries
    choose their algorithms by the batch size, and a face may differ by a level between two sizes. With one size for
    all, a face does not depend on those beside it, and an interrupted run gives the same bytes as an uninterrupted one.
    After OutOfMemory the size is halved; before that size is used, ``halved`` is called with the size that was too
    large and the error. May be called from many threads.
    """

    def __init__(
        self, session: Session, size: int, halved: Callable[[int, OutOfMemory], None] = lambda size, error: None
    ) -> None:
        self.size = size
        self._session = session
        self._halved = halved
        self._halving = threading.Lock()

    def __call__(self, faces: Sequence[Face]) -> tuple[list[Face], int]:
        """Return the SR faces and the batch they were all computed in; raises MissingError where not even one fits."""
        while True:
            size = self.size
            try:
                done = [self._session.upscale(part) for part in _parts(faces, size)]
            except OutOfMemory as error:
                self._halve(size, error)
            else:
                return list(chain.from_iterable(done))[: len(faces)], size

    def _halve(self, size: int, error: OutOfMemory) -> None:
        if size == 1:
            raise MissingError(
                f"not even one face fits into the memory of {self._session.info.device}: {error};"
                " free some or take a smaller model"
            ) from error
        with self._halving:  # batches that run at the same time run out of memory together
            if self.size == size:
                self._halved(size, error)
                self.size = size // 2


def _parts(faces: Sequence[Face], size: int) -> Iterator[Face]:
    """Yield batches (size, h, w, 3) of all faces in order."""
    for start in range(0, len(faces), size):
        part = faces[start : start + size]
        yield np.array([*part, *[part[-1]] * (size - len(part))])
