"""Films of whole frames: faces are found in all of them first, made steady over time, and then upscaled in place."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import astuple
from pathlib import Path

from fsr_deploy._util.log import progress, say
from fsr_deploy.errors import InputError, UsageError
from fsr_deploy.faces.boxes import COLUMNS, boxes_csv, read_boxes
from fsr_deploy.faces.face import Face, fault_of
from fsr_deploy.faces.folder import RECIPE
from fsr_deploy.faces.options import FrameOptions
from fsr_deploy.faces.restorer import Finder, FrameRestorer, RestoreSettings, refuse_too_large
from fsr_deploy.faces.saving import SavedBoxes
from fsr_deploy.faces.smoothing import SceneCuts, Seen, smoothed
from fsr_deploy.films.bad import BadParts
from fsr_deploy.films.colour import Pixels, to_rgb
from fsr_deploy.films.frames import Frames
from fsr_deploy.films.segments import hash_of
from fsr_deploy.films.survey import Film
from fsr_deploy.runtime.folder.journal import made_with
from fsr_deploy.runtime.session import Session

FRAMES = 8  # that are restored at a time, so that their faces fill the engine's batches

Faces = Mapping[int, tuple[Face, ...]]


class WholeFrames:
    """A restorer of frames with any number of faces: ``known`` has them by the frame's number, from 0.

    ``batch`` is how many faces run at a time.
    """

    batch = FRAMES

    def __init__(self, session: Session, settings: RestoreSettings, known: Faces, batch: int) -> None:
        self._restorer = FrameRestorer(session, settings, batch=batch)
        self._known = known
        self.in_flight = session.in_flight
        faces = hash_of(*sorted(known.items()))
        info = session.info
        self.made_with = hash_of(made_with(info, "whole"), RECIPE, astuple(settings), info.template, batch, faces)

    @property
    def smallest_batch(self) -> int:
        """How many faces were run at a time last; fewer than at first if memory ran out."""
        return self._restorer.batches.size

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Return the size of an enlarged frame; raises InputError for one that is too large to be enlarged."""
        scale = self._restorer.settings.upscale
        refuse_too_large((height, width), scale)
        return width * scale, height * scale

    def restore(self, frames: Sequence[Pixels], first: int) -> list[Pixels]:
        """Return the enlarged frames with their SR faces."""
        numbers = range(first, first + len(frames))
        done = self._restorer.restore_all(frames, [self._known.get(number, ()) for number in numbers])
        return [one.frame for one in done if one.frame is not None]


def known_faces(film: Film, frames: FrameOptions, device: str, stop: threading.Event, overwrite: bool) -> Faces:
    """Return the faces of a film's frames: those of the file of boxes, or those that the detector finds.

    Found ones are made steady over time, and saved where that is asked for. Raises InputError for boxes that are not
    this film's, and MissingError without ONNX Runtime. Where ``stop`` is set meanwhile, not all are there.
    """
    if frames.faces_only:
        raise UsageError("--faces-only: is for pictures; of a film, the enlarged frames are written")
    if frames.boxes is not None:
        return _read(frames.boxes, film)
    saved = SavedBoxes(Path(frames.save_boxes), overwrite) if frames.save_boxes is not None else None
    if saved:
        saved.check(None)
    detector = frames.detector(device)
    assert detector is not None
    with progress("frames searched", len(film.times)) as advance:
        found = {number: faces for number, faces in smoothed(_seen(film, detector, stop, advance)) if faces}
    say(f"{film.path}: {sum(map(len, found.values()))} faces in {len(found)} of {len(film.times)} frames")
    if saved and not stop.is_set():
        saved.write(boxes_csv(found.items()), None)
    return found


def _seen(film: Film, detector: Finder, stop: threading.Event, advance: Callable[[int], None]) -> Iterator[Seen]:
    cuts = SceneCuts()
    for decoded in Frames(film, BadParts()):  # what is wrong with frames is told when they are restored
        if stop.is_set():
            return
        frame = film.turn(to_rgb(decoded.frame, film.colours))
        yield Seen(decoded.number, detector.find(frame), cuts(frame))
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
