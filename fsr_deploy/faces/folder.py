"""Whole frames in files: what ``fsr-run`` makes of pictures with ``--boxes`` or ``--find-faces``."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from itertools import count
from pathlib import Path

from fsr_deploy._util.files import status
from fsr_deploy.errors import InputError
from fsr_deploy.faces.boxes import boxes_csv
from fsr_deploy.faces.cutting import Frame as Pixels
from fsr_deploy.faces.face import Face, from_plain, to_plain
from fsr_deploy.faces.restorer import Finder, FrameSteps, Prepared, RestoreSettings
from fsr_deploy.faces.saving import SavedBoxes
from fsr_deploy.images.codec import Frame, encode_frame
from fsr_deploy.images.colour import ColourChange
from fsr_deploy.runtime.folder.budget import ByteBudget
from fsr_deploy.runtime.folder.jobs import Job, Work
from fsr_deploy.runtime.folder.journal import Journal, face_key
from fsr_deploy.runtime.folder.steps import BYTES_AT_ONCE, Failed, Load, Loaded, Upscaled
from fsr_deploy.runtime.folder.write import Write
from fsr_deploy.runtime.session import EngineInfo

# Increase it when the same frame, faces and engine give another frame than before.
RECIPE = "frames 1"
_FACE = re.compile(r"(.*)_face_\d+(\.\w+)", re.DOTALL)


@dataclass(frozen=True)
class FrameTask:
    """Each frame is a picture with any number of faces in it. Either ``known`` has the faces of all frames, or
    ``finder`` finds them; ``finder_name`` then tells what it is and what its results depend on. What was found is
    written to ``saved``, if that is wanted; ``names`` has the frames' names in it.
    """

    settings: RestoreSettings
    known: Mapping[Path, tuple[Face, ...]] | None = None
    finder: Finder | None = None
    finder_name: str = ""
    names: Mapping[Path, str] = field(default_factory=dict)
    saved: SavedBoxes | None = None
    found: dict[Path, tuple[Face, ...]] = field(default_factory=dict)
    whole_frames = True
    unit = "faces"

    @property
    def recipe(self) -> str:
        """The settings, and who finds the faces."""
        return "\n".join((RECIPE, repr(astuple(self.settings)), self.finder_name))

    def targets(self, work: Work) -> Sequence[Path]:
        """Return the place of each frame, or where faces of frames are already."""
        places = [job.target for job in work.jobs]
        return _faces_there(places) if self.settings.faces_only else places

    def reader(self, engine: EngineInfo, journal: Journal | None, made_with: str, batches: Sequence[int]) -> LoadFrame:
        """Return the step that reads a frame, finds its faces and cuts them out."""
        steps = FrameSteps(engine, self.settings, self.finder)
        return LoadFrame(engine, journal, f"{made_with}\n{engine.template}", batches, task=self, steps=steps)

    def writer(
        self, engine: EngineInfo, journal: Journal | None, work: Work, made_with: str, taken: Collection[Path] | None
    ) -> WriteFrame:
        """Return the step that pastes a frame's SR faces and writes it, or writes its faces."""
        if self.saved:
            self.saved.check(journal)
        steps = FrameSteps(engine, self.settings)
        return WriteFrame(journal, work.folder, f"{made_with}\n{engine.template}", taken, task=self, steps=steps)

    def close(self, journal: Journal | None) -> None:
        """Write the faces that were found."""
        if self.saved:
            faces = ((name, self.found[path]) for path, name in self.names.items() if path in self.found)
            self.saved.write(boxes_csv(faces), journal)

    def key(self, job: Job, sha256: str, made_with: str, batch: int) -> str:
        """Return the hash of everything that the outputs of a frame depend on."""
        faces = "" if self.known is None else repr(self.known.get(job.source, ()))
        return face_key(sha256, job.target.suffix, f"{made_with}\n{faces}", batch)

    def outputs(self, target: Path, faces: int) -> list[Path]:
        """Return the outputs of a frame of which so many faces were upscaled."""
        return [face_target(target, index) for index in range(faces)] if self.settings.faces_only else [target]


@dataclass(frozen=True)
class LoadedFrame(Loaded):
    """A frame with the LR faces that were cut out of it."""

    prepared: Prepared = field(kw_only=True)


@dataclass(frozen=True)
class LoadFrame(Load):
    """Job -> its frame with its faces."""

    task: FrameTask = field(kw_only=True)
    steps: FrameSteps = field(kw_only=True)

    def is_done(self, job: Job, sha256: str) -> bool:
        """Tell whether an earlier run has made all outputs of a frame; its faces are remembered then."""
        for batch in self.batches:
            key = self.task.key(job, sha256, self.made_with, batch)
            noted = self.journal.frame(job.target, key) if self.journal else None
            faces = from_plain(noted[0]) if noted else None
            if faces is not None and noted and self._are_there(self.task.outputs(job.target, noted[1]), key):
                self.task.found[job.source] = faces
                return True
        return False

    def prepare(self, job: Job, sha256: str, frame: Frame) -> Loaded:
        """Find the faces of a decoded picture and cut them out."""
        return self.cut_out(job, sha256, frame.pixels, frame.changes)

    def cut_out(
        self, job: Job, sha256: str, frame: Pixels, changes: frozenset[ColourChange] = frozenset()
    ) -> LoadedFrame:
        """Find the faces of an (h, w, 3) RGB frame, uint8 or uint16, and cut them out; raises InputError with its name
        for a face that cannot be used.
        """
        known = None if self.task.known is None else self.task.known.get(job.source, ())
        try:
            prepared = self.steps.prepare(frame, known)
        except InputError as error:
            raise InputError(f"{job.source}: {error}") from error
        self.task.found[job.source] = prepared.found
        return LoadedFrame(
            job,
            sha256,
            prepared.lr_faces,
            [(round(region.height), round(region.width)) for region in prepared.regions],
            changes,
            len(prepared.found),
            frame.nbytes,
            prepared=prepared,
        )

    def _are_there(self, targets: Sequence[Path], key: str) -> bool:
        return self.journal is not None and all(self.journal.has(target, [key]) for target in targets)


@dataclass(frozen=True)
class WriteFrame(Write):
    """Frame with SR faces -> files, recorded in the journal."""

    task: FrameTask = field(kw_only=True)
    steps: FrameSteps = field(kw_only=True)
    pasting: ByteBudget = field(default_factory=lambda: ByteBudget(BYTES_AT_ONCE))

    def __call__(self, upscaled: Upscaled) -> Loaded | Failed:
        """Paste, encode and write a frame; raises InputError where nothing can be written."""
        frame = upscaled.frame
        assert isinstance(frame, LoadedFrame)
        job = frame.job
        # The enlarged frame, a copy in the order of OpenCV's colours, and the file.
        scale = 1 if self.task.settings.faces_only else self.task.settings.upscale
        with self.pasting.hold(3 * frame.held * scale**2):
            restored = self.steps.finish(frame.prepared, upscaled.faces)
            pictures = restored.sr_faces if restored.frame is None else (restored.frame,)
            targets = self.task.outputs(job.target, len(pictures))
            try:
                pairs = zip(targets, pictures, strict=True)
                contents = {target: encode_frame(picture, target.suffix) for target, picture in pairs}
            except InputError as error:
                return Failed(job.source, f"{job.source}: {error}")
        key = self.task.key(job, frame.sha256, self.made_with, upscaled.batch)
        if self.journal:
            self.journal.add_frame(job.target, key, to_plain(frame.prepared.found), len(targets))
        outcome = self.put(frame, contents, key)
        if self.task.settings.faces_only and self.journal and outcome is frame:
            self._remove_others(job.target, len(targets), self.journal)
        return outcome

    def _remove_others(self, target: Path, first: int, journal: Journal) -> None:
        """Remove faces of the same frame that an earlier run made of other boxes, and nobody has changed since."""
        for index in count(first):
            other = face_target(target, index)
            if not (status(other, follow=False) and journal.is_ours(other)):
                break
            other.unlink(missing_ok=True)


def face_target(target: Path, index: int) -> Path:
    """Return where a face of a frame goes, given where the frame would go: "a.png" -> "a_face_0.png"."""
    return target.with_name(f"{target.stem}_face_{index}{target.suffix}")


def _faces_there(places: Sequence[Path]) -> list[Path]:
    """Return the files that have names of faces of these frames."""
    wanted = set(places)
    folders = [folder for folder in dict.fromkeys(place.parent for place in places) if folder.is_dir()]
    return [
        path
        for folder in folders
        for path in sorted(folder.iterdir())
        if (named := _FACE.fullmatch(path.name)) and folder / (named[1] + named[2]) in wanted
    ]
