"""Films of whole frames: the faces of all frames, known or found and made steady, before any frame is restored."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path

from fsr_deploy._util.files import status
from fsr_deploy._util.log import progress, say
from fsr_deploy.errors import InputError
from fsr_deploy.faces.boxes import COLUMNS, boxes_csv, read_boxes
from fsr_deploy.faces.face import Face, fault_of
from fsr_deploy.faces.film import find_in_film
from fsr_deploy.faces.options import FrameOptions
from fsr_deploy.faces.saving import SavedBoxes
from fsr_deploy.films.bad import BadParts
from fsr_deploy.films.colour import Pixels, to_rgb
from fsr_deploy.films.frames import Frames
from fsr_deploy.films.survey import Film
from fsr_deploy.runtime.folder.journal import NAME, Journal

Faces = Mapping[int, tuple[Face, ...]]


def known_faces(
    film: Film, frames: FrameOptions, device: str, stop: threading.Event, overwrite: bool, folder: Path
) -> Faces:
    """Return the faces of a film's frames: those of the file of boxes, or those that the detector finds.

    Found ones are made steady over time, and saved where that is asked for; the journal in ``folder``, that of the run,
    knows the file then. Raises InputError for boxes that are not this film's, and MissingError without ONNX Runtime.
    Where ``stop`` is set meanwhile, not all are there.
    """
    if frames.boxes is not None:
        return _read(frames.boxes, film)
    saved = SavedBoxes(Path(frames.save_boxes), overwrite) if frames.save_boxes is not None else None
    if saved and status(folder / NAME, follow=False):
        with closing(Journal(folder)) as journal:
            saved.check(journal)
    elif saved:
        saved.check(None)
    detector = frames.detector(device)
    assert detector is not None
    with progress("frames searched", len(film.times)) as advance:
        steady = find_in_film(_frames(film, stop, advance), detector)
        found = {number: faces for number, faces in steady if faces}
    say(f"{film.path}: {sum(map(len, found.values()))} faces in {len(found)} of {len(film.times)} frames")
    if saved and not stop.is_set():
        with closing(Journal(folder)) as journal:
            saved.write(boxes_csv(found.items()), journal)
    return found


def _frames(film: Film, stop: threading.Event, advance: Callable[[int], None]) -> Iterator[tuple[int, Pixels]]:
    for decoded in Frames(film, BadParts()):  # what is wrong with frames is told when they are restored
        if stop.is_set():
            return
        yield decoded.number, film.turn(to_rgb(decoded.frame, film.colours))
        advance(1)


def _read(path: str, film: Film) -> Faces:
    """Read a file of boxes; raises InputError for one that does not fit the film."""
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
