"""Whole frames with SR faces: find, cut, upscale, paste. The steps can be called one by one, from several threads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

import numpy as np

from fsr_deploy.errors import InputError, UsageError, refuse_outside, refuse_type, refuse_unknown
from fsr_deploy.faces.cutting import Frame, cut
from fsr_deploy.faces.face import Face, fault_of
from fsr_deploy.faces.geometry import Region, region_of
from fsr_deploy.faces.pasting import FILTERS, enlarge, paste
from fsr_deploy.images.opencv import MAX_PIXELS
from fsr_deploy.images.resize import Face as Picture
from fsr_deploy.runtime.batches import Batches
from fsr_deploy.runtime.session import EngineInfo, Session

MAX_UPSCALE = 8
# A face's square may reach beyond the frame. One so many times as large is a mistake, and would take all memory; so is
# one of landmarks that is so many times smaller than the box.
FAR = 4


@dataclass(frozen=True)
class RestoreSettings:
    """How frames are restored.

    ``upscale`` is by how much the frame is enlarged, 1 to 8. A face that takes more pixels in the frame than an SR face
    has is left as it is, unless ``all_faces``. ``faces_only`` makes no frames, only SR faces. ``filter`` enlarges the
    frame, "lanczos" or "bicubic". Raises UsageError for anything else.
    """

    upscale: int = 4
    all_faces: bool = False
    faces_only: bool = False
    filter: str = "lanczos"

    def __post_init__(self) -> None:
        refuse_outside("--upscale", self.upscale, 1, MAX_UPSCALE)
        refuse_type("--all-faces", self.all_faces, bool, "True or False")
        refuse_type("--faces-only", self.faces_only, bool, "True or False")
        refuse_unknown("filter", self.filter, tuple(FILTERS))


class Finder(Protocol):
    """Finds faces in frames; may be called from several threads."""

    def find(self, frame: Frame) -> Sequence[Face]:
        """Return the faces of an (h, w, 3) uint8 or uint16 RGB frame."""
        ...


@dataclass(frozen=True)
class Prepared:
    """A frame and its LR faces, ready for the engine: ``lr_faces`` belong to ``faces``, one to one, and are cut from
    ``regions``. ``found`` are all faces, those that are left as they are included.
    """

    frame: Frame
    found: tuple[Face, ...]
    faces: tuple[Face, ...]
    regions: tuple[Region, ...]
    lr_faces: tuple[Picture, ...]


@dataclass(frozen=True)
class Restored:
    """A frame that is done. ``frame`` is the enlarged one, None with ``faces_only``; ``sr_faces`` belong to ``faces``,
    one to one. ``skipped`` is the number of faces that were left as they are, because they are large already.
    """

    frame: Frame | None
    faces: tuple[Face, ...]
    sr_faces: tuple[Picture, ...]
    skipped: int


class FrameSteps:
    """The steps before and after the engine, for engines like ``info``; may be called from several threads. ``finder``
    finds the faces of frames that come without.
    """

    def __init__(self, info: EngineInfo, settings: RestoreSettings | None = None, finder: Finder | None = None) -> None:
        self.info = info
        self.settings = settings or RestoreSettings()
        self.finder = finder

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Return the (width, height) of an enlarged frame; raises InputError where it would be too large."""
        scale = self.settings.upscale
        refuse_too_large((height, width), scale)
        return width * scale, height * scale

    def prepare(self, frame: Frame, faces: Sequence[Face] | None = None) -> Prepared:
        """Find a frame's faces, where they are not given, and cut the LR faces; raises what ``restore`` does."""
        _refuse_other_frames(frame)
        if not self.settings.faces_only:
            refuse_too_large(frame.shape, self.settings.upscale)
        if faces is None:
            if self.finder is None:
                raise UsageError("no faces were given, and no detector that finds them; see find_faces of fsr.load")
            faces = self.finder.find(frame)
        regions = [self.check(face, frame.shape, number) for number, face in enumerate(faces, 1)]
        taken = [(face, region) for face, region in zip(faces, regions, strict=True) if self._takes(region)]
        cuts = tuple(cut(frame, region, self.info.lr_shape) for _, region in taken)
        return Prepared(
            frame, tuple(faces), tuple(face for face, _ in taken), tuple(region for _, region in taken), cuts
        )

    def finish(self, prepared: Prepared, sr_faces: Sequence[Picture]) -> Restored:
        """Paste the SR faces of a prepared frame; where faces overlap, the larger one, which is nearer, is in front."""
        skipped = len(prepared.found) - len(prepared.faces)
        if self.settings.faces_only:
            return Restored(None, prepared.faces, tuple(sr_faces), skipped)
        scale = self.settings.upscale
        canvas = enlarge(prepared.frame, scale, self.settings.filter)
        pairs = sorted(zip(prepared.regions, sr_faces, strict=True), key=lambda pair: pair[0].width * pair[0].height)
        for region, face in pairs:
            paste(canvas, face, region, scale)
        return Restored(canvas, prepared.faces, tuple(sr_faces), skipped)

    def check(self, face: Face, shape: tuple[int, ...], number: int = 1) -> Region:
        """Return the region of a face in a frame of ``shape``, (height, width, ...); ``number`` is for the message.

        Raises InputError for a face that has none.
        """
        fault = fault_of(face, shape)
        if not fault:
            region = region_of(face, self.info.lr_shape, self.info.template)
            side = max(region.width, region.height)
            if max(face.w, face.h) / FAR <= side <= FAR * max(shape[:2]):
                return region
            fault = f"does not fit into the frame's {shape[1]}x{shape[0]} pixels"
            fault += "; are its landmarks in the order of the documentation?" if face.landmarks else ""
        raise InputError(f"face {number}, {face}, {fault}")

    def _takes(self, region: Region) -> bool:
        height, width = self.info.sr_shape
        return self.settings.all_faces or (round(region.width, 3) <= width and round(region.height, 3) <= height)


class FrameRestorer(FrameSteps):
    """Restores frames with a session. ``finder`` finds the faces of frames that come without; ``batch`` is how many
    faces run at a time, by default as many as the session runs best.
    """

    def __init__(
        self,
        session: Session,
        settings: RestoreSettings | None = None,
        finder: Finder | None = None,
        batch: int | None = None,
    ) -> None:
        info = session.info
        super().__init__(info, settings, finder)
        self.batches = Batches(session, batch or min(info.best_batch, info.max_batch or info.best_batch))

    def restore(self, frame: Frame, faces: Sequence[Face] | None = None) -> Restored:
        """Restore an (h, w, 3) RGB frame, uint8 or uint16; the result is of the same type.

        Without ``faces`` the finder looks for them. Raises InputError for a face that has no area, lies outside the
        frame or holds something other than numbers, and for a frame that is too large to be enlarged.
        """
        return next(iter(self.restore_all([frame], [faces])))

    def restore_all(
        self, frames: Sequence[Frame], faces: Sequence[Sequence[Face] | None] | None = None
    ) -> list[Restored]:
        """Restore several frames, of any sizes; their faces go through the engine together. See ``restore``."""
        known = faces if faces is not None else [None] * len(frames)
        prepared = [self.prepare(frame, given) for frame, given in zip(frames, known, strict=True)]
        sr_faces = iter(self.upscale([face for one in prepared for face in one.lr_faces]))
        return [self.finish(one, list(islice(sr_faces, len(one.lr_faces)))) for one in prepared]

    def upscale(self, lr_faces: Sequence[Picture]) -> list[Picture]:
        """Return the SR faces of LR faces; raises MissingError where not even one fits into the device's memory."""
        return self.batches(lr_faces)[0]


def refuse_too_large(shape: tuple[int, ...], upscale: int) -> None:
    """Raise InputError for a frame of (height, width, ...) that would be larger than a picture may be."""
    height, width = shape[0] * upscale, shape[1] * upscale
    if height * width > MAX_PIXELS:
        raise InputError(
            f"enlarged {upscale} times it has {width}x{height} pixels, over the limit of {MAX_PIXELS};"
            " choose a smaller --upscale"
        )


def _refuse_other_frames(frame: Frame) -> None:
    if frame.dtype not in (np.uint8, np.uint16) or frame.ndim != 3 or frame.shape[2] != 3 or 0 in frame.shape:
        raise InputError(f"an array of {frame.dtype} {frame.shape}; give uint8 or uint16 RGB of shape (h, w, 3)")
