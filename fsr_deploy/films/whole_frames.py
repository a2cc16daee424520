"""Films of whole frames: the faces of all frames, known or found and made steady, before any frame is restored."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fsr_deploy._util.log import progress, say
from fsr_deploy.errors import InputError
from fsr_deploy.faces.boxes import COLUMNS, boxes_csv, read_boxes
from fsr_deploy.faces.detector import Detector
from fsr_deploy.faces.face import Face, fault_of, from_plain, to_plain
from fsr_deploy.faces.options import name_of
from fsr_deploy.faces.saving import SavedBoxes
from fsr_deploy.faces.smoothing import SceneCuts, Seen, smoothed
from fsr_deploy.films.bad import BadParts
from fsr_deploy.films.frames import Decoded, Frames, upright
from fsr_deploy.films.segments import codec_version, hash_of
from fsr_deploy.films.survey import Film
from fsr_deploy.runtime.folder.journal import Journal

Faces = Mapping[int, tuple[Face, ...]]

# Increase it when the same film and detector give other faces or scenes than before.
RECIPE = "search 1"
NOTED_TOGETHER = 48  # frames; so many are searched again at most where a search is killed


def read_faces(path: str, film: Film) -> Faces:
    """Return the faces of a film's frames from a file of boxes; raises InputError for one that is not this film's."""
    boxes = read_boxes(path)
    if boxes.names:
        raise InputError(f"{path}: is for pictures; the columns of a film's are {COLUMNS}")
    width, height = film.upright
    for number, faces in boxes.numbers.items():
        if number >= len(film.times):
            raise InputError(f"{path}: has faces of frame {number}, and the film has {len(film.times)}, from 0 on")
        for face in faces:
            if fault := fault_of(face, (height, width)):
                raise InputError(f"{path}: frame {number}: the face {face} {fault}")
    return boxes.numbers


def find_faces(
    film: Film,
    detector: Detector,
    saved: SavedBoxes | None,
    journal: Journal,
    stop: threading.Event,
    resume: bool = True,
) -> Faces:
    """Return the faces that a detector finds in a film's frames, steady over time, and write them to ``saved``.

    ``journal`` keeps what was found, and with ``resume`` the frames that an earlier run searched are not searched
    again. Where ``stop`` is set meanwhile, not all faces are there. Raises InputError where ``saved`` is somebody
    else's file.
    """
    if saved:
        saved.check(journal)
    search = Search(film, detector, journal, resume)
    with progress("frames searched", len(film.times)) as advance:
        found = {number: faces for number, faces in smoothed(search.run(stop, advance)) if faces}
    say(f"{film.path}: {sum(map(len, found.values()))} faces in {len(found)} of {len(film.times)} frames")
    if saved and not stop.is_set():
        saved.write(boxes_csv(found.items()), journal)
    return found


@dataclass(frozen=True)
class Search:
    """The search of a film for faces, of which the journal keeps what is done."""

    film: Film
    detector: Detector
    journal: Journal
    resume: bool = True

    def run(self, stop: threading.Event, advance: Callable[[int], None]) -> Iterator[Seen]:
        """Yield what is in each frame, in order, until ``stop`` is set."""
        key = hash_of(self.film.sha256, name_of(self.detector), codec_version(), RECIPE)
        rows, whole = self.journal.found(key) if self.resume else ([], False)
        seen = [_seen_of(row, len(self.film.times)) for row in rows]
        known = {one.number: one for one in seen if one}
        if whole and None not in seen:
            advance(len(self.film.times))
            yield from (known[number] for number in sorted(known))
            return
        fresh: list[Seen] = []
        for one in self._search(known, stop):
            if one.number not in known:
                fresh.append(one)
            if len(fresh) == NOTED_TOGETHER:
                self.journal.add_found(key, _rows(fresh), whole=False)
                fresh = []
            yield one
            advance(1)
        self.journal.add_found(key, _rows(fresh), whole=not stop.is_set())

    def _search(self, known: Mapping[int, Seen], stop: threading.Event) -> Iterator[Seen]:
        cuts = SceneCuts()
        before: Decoded | None = None  # the last frame that was known: whether a scene ends with it is not
        for decoded in Frames(self.film, BadParts()):  # what is wrong with frames is told when they are restored
            if stop.is_set():
                return
            if decoded.number in known:
                before = decoded
                yield known[decoded.number]
                continue
            if before:
                cuts(upright(self.film, before))
                before = None
            frame = upright(self.film, decoded)
            yield Seen(decoded.number, self.detector.find(frame), cuts(frame))


def _rows(seen: Sequence[Seen]) -> list[Any]:
    return [[one.number, one.cut, to_plain(one.faces)] for one in seen]


def _seen_of(row: Any, frames: int) -> Seen | None:
    """Return what ``_rows`` made a list of, for a film of so many frames; None for anything else."""
    match row:
        case [int(number), bool(cut), list(rows)] if number in range(frames):
            faces = from_plain(rows)
            return None if faces is None else Seen(number, faces, cut)
    return None
