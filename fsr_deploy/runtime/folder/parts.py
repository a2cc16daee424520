"""Frames of any number of faces through an engine that takes so many faces at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from fsr_deploy.images.resize import Face
from fsr_deploy.runtime.batches import Batches
from fsr_deploy.runtime.folder.steps import Loaded, Upscaled

# Frames with few faces or none wait for a batch to be full, but no more than this of them.
WAITING_BYTES = 1 << 28
WAITING_PER_FACE = 4


class Part(NamedTuple):
    """One face of a frame, ``face`` None for a frame that has none; ``last`` is the frame's last part."""

    frame: Loaded
    face: Face | None
    last: bool


class DonePart(NamedTuple):
    """A part with its SR face, and the batch that it was computed in."""

    part: Part
    face: Face | None
    batch: int


def groups(frames: Iterable[Loaded], size: int) -> Iterator[list[Part]]:
    """Yield the frames' faces in order, in groups of ``size`` faces; the last may be smaller, and one with frames that
    hold much memory or have no faces."""
    group: list[Part] = []
    faces = held = 0
    for frame in frames:
        held += frame.held
        for index, face in enumerate(frame.faces or (None,), 1):
            group.append(Part(frame, face, index >= len(frame.faces)))
            faces += face is not None
            if faces == size or held > WAITING_BYTES or len(group) >= WAITING_PER_FACE * size:
                yield group
                group, faces, held = [], 0, 0
    if group:
        yield group


def frames_in(parts: Sequence[Part]) -> int:
    """Return how many frames are complete with these parts."""
    return sum(part.last for part in parts)


@dataclass(frozen=True)
class Upscale:
    """Parts -> parts with their SR faces. Once ``stop`` is set, no batch is begun."""

    batches: Batches
    stop: threading.Event

    def __call__(self, parts: Sequence[Part]) -> list[DonePart]:
        """Return the parts with their SR faces, none if the run was stopped before."""
        if self.stop.is_set():
            return []
        done, batch = self.batches([part.face for part in parts if part.face is not None])
        faces = iter(done)
        return [DonePart(part, None if part.face is None else next(faces), batch) for part in parts]


def whole_frames(parts: Iterable[DonePart]) -> Iterator[Upscaled]:
    """Yield each frame once all of its parts are there; one that was stopped midway is left out."""
    faces: list[Face] = []
    batches: list[int] = []
    for done in parts:
        if done.face is not None:
            faces.append(done.face)
        batches.append(done.batch)
        if done.part.last:
            yield Upscaled(done.part.frame, faces, min(batches))
            faces, batches = [], []
