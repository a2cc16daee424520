"""The work behind the page: a picture or a film with one engine, one at a time."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fsr_deploy.bundle.info import BundleInfo
from fsr_deploy.errors import FsrError, InputError
from fsr_deploy.faces.face import Face
from fsr_deploy.faces.options import FrameOptions
from fsr_deploy.faces.pasting import enlarge
from fsr_deploy.faces.restorer import FrameRestorer
from fsr_deploy.films.options import FilmOptions, find_film, upscale_film
from fsr_deploy.films.summary import FilmSummary
from fsr_deploy.images.codec import RGB, decode_frame, frame_header, read_picture
from fsr_deploy.images.opencv import cv2
from fsr_deploy.images.resize import crop, lr_face, resize
from fsr_deploy.page.limits import Limits
from fsr_deploy.runtime.folder.batch_sizes import choose_batch
from fsr_deploy.runtime.folder.sizes import DETAIL_LOST, OTHER_PROPORTIONS
from fsr_deploy.runtime.session import Session

BOX_COLOUR = (46, 204, 64)  # RGB


@dataclass(frozen=True)
class Shown:
    """A picture that is done.

    ``before`` is the picture enlarged without the engine, ``after`` with it, both (H, W, 3) uint8 RGB of one size.
    ``faces`` are those that were found, in the picture's pixels before it was enlarged ``scale`` times, None where the
    picture was taken as one face. ``upscaled`` counts those that went through the engine, in ``engine_seconds``.
    ``notes`` are sentences about what was lost or left.
    """

    before: RGB
    after: RGB
    faces: tuple[Face, ...] | None
    upscaled: int
    scale: int
    engine_seconds: float
    seconds: float
    notes: tuple[str, ...] = ()

    def with_boxes(self, picture: RGB) -> RGB:
        """Return ``before`` or ``after`` with a box around each face that was found."""
        drawn = picture.copy()
        thickness = max(1, round(min(drawn.shape[:2]) / 200))
        for face in self.faces or ():
            left, top, right, bottom = (
                round(side * self.scale) for side in (face.x, face.y, face.x + face.w, face.y + face.h)
            )
            cv2.rectangle(drawn, (left, top), (right, bottom), BOX_COLOUR, thickness)
        return drawn


class Studio:
    """An engine, and the detector that finds faces for it where ``frames`` names one.

    ``info`` is the engine's bundle. May be called from several threads: they wait for each other.
    """

    def __init__(
        self, session: Session, info: BundleInfo, frames: FrameOptions, device: str, limits: Limits | None = None
    ) -> None:
        self.session, self.info, self.frames = session, info, frames
        self.limits = limits or Limits()
        self.finder = frames.detector(device)
        self._busy = threading.Lock()
        height, width = session.info.lr_shape
        session.upscale(np.zeros((1, height, width, 3), np.uint8))  # the first time takes longer than the others

    def picture(self, path: Path, one_face: bool = False) -> Shown:
        """Upscale a picture: the faces that are found in it, or with ``one_face`` and without a detector all of it.

        Raises InputError for a file that is no picture, or one that is damaged or over the limits.
        """
        whole = self.finder is not None and not one_face
        content = read_picture(path)
        header = frame_header(content, path.name)
        self.limits.refuse_picture(header.width, header.height, self.frames.settings.upscale if whole else 1)
        with self._busy:
            frame = decode_frame(content, path.name, header=header).pixels
            return self._whole(frame) if whole else self._face(frame)

    def film(self, path: Path, folder: Path, stop: threading.Event) -> FilmSummary:
        """Upscale a film into a folder, until ``stop`` is set: its faces, or without a detector each frame as a face.

        Raises InputError for a film that cannot be read or is over the limits, MissingError without PyAV.
        """
        film, target = find_film(str(path), str(folder / f"{path.stem}_sr.mp4"), FilmOptions(), self.frames)
        upscale = self.frames.settings.upscale if self.frames.wanted else 1
        self.limits.refuse_film(len(film.times), *film.upright, upscale)
        with self._busy:
            return upscale_film(self.session, film, target, FilmOptions(), self.frames, stop)

    def wait(self) -> None:
        """Wait until nobody uses the engine any more."""
        with self._busy:
            pass

    def _whole(self, frame: RGB) -> Shown:
        start = time.perf_counter()
        settings = self.frames.settings
        assert self.finder is not None
        faces = self.finder.find(frame)
        batch = choose_batch(self.session.info, None, max(1, len(faces)))
        restorer = FrameRestorer(self.session, settings, batch=batch)
        prepared = restorer.prepare(frame, faces)
        begin = time.perf_counter()
        sr_faces = restorer.upscale(prepared.lr_faces)
        engine_seconds = time.perf_counter() - begin
        restored = restorer.finish(prepared, sr_faces)
        after = np.asarray(restored.frame, np.uint8)
        seconds = time.perf_counter() - start
        before = np.asarray(enlarge(frame, settings.upscale, settings.filter), np.uint8)
        upscaled = len(prepared.faces)
        notes = self._notes_of_faces(len(faces), restored.skipped)
        return Shown(before, after, faces, upscaled, settings.upscale, engine_seconds, seconds, notes)

    def _notes_of_faces(self, found: int, skipped: int) -> tuple[str, ...]:
        height, width = self.session.info.sr_shape
        if not found:
            return (
                "No face was found: the picture is only enlarged, by Lanczos. Faces of less than about 15 pixels are"
                " missed.",
            )
        if skipped:
            return (f"{skipped} of them left as they are: larger than {width}x{height} pixels already.",)
        return ()

    def _face(self, frame: RGB) -> Shown:
        start = time.perf_counter()
        info = self.session.info
        lr = lr_face(frame, info.lr_shape)
        begin = time.perf_counter()
        after = self.session.upscale(lr[None])[0]
        end = time.perf_counter()
        notes = self._notes_of_size(frame.shape[:2])
        return Shown(resize(lr, info.sr_shape), after, None, 1, 1, end - begin, end - start, notes)

    def _notes_of_size(self, size: tuple[int, ...]) -> tuple[str, ...]:
        lr_shape = self.session.info.lr_shape
        kept = crop(np.empty((*size, 0), np.uint8), lr_shape).shape
        notes = []
        if max(size[0] * lr_shape[1], size[1] * lr_shape[0]) > OTHER_PROPORTIONS * min(
            size[0] * lr_shape[1], size[1] * lr_shape[0]
        ):
            notes.append(f"Only its middle, {kept[1]}x{kept[0]} pixels, was taken.")
        if kept[0] > DETAIL_LOST * lr_shape[0]:
            advice = 'choose "faces in a picture"' if self.finder else "start fsr-demo with --find-faces DETECTOR.onnx"
            notes.append(
                f"It was reduced from {kept[1]}x{kept[0]} to the engine's {lr_shape[1]}x{lr_shape[0]} pixels first, and"
                f" detail was lost. For the faces within a larger picture, {advice}."
            )
        return tuple(notes)


def problem(error: FsrError, path: Path) -> str:
    """Return an error about a visitor's file as a sentence that calls the file by its name alone."""
    said = str(error).replace(f"{path.parent}{os.sep}", "")
    return said if path.name in said or not isinstance(error, InputError) else f"{path.name}: {said}"
