"""What a user may choose about whole frames."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path

from fsr_deploy._util import imports
from fsr_deploy._util.files import is_folder, one_slash
from fsr_deploy._util.log import say
from fsr_deploy._util.sizes import Size, written
from fsr_deploy.errors import InputError, UsageError
from fsr_deploy.faces.boxes import COLUMNS, Boxes, read_boxes
from fsr_deploy.faces.detector import Detector, open_detector
from fsr_deploy.faces.face import Face
from fsr_deploy.faces.folder import FrameTask
from fsr_deploy.faces.restorer import RestoreSettings
from fsr_deploy.faces.saving import SavedBoxes
from fsr_deploy.runtime.folder.jobs import Work
from fsr_deploy.runtime.folder.tile_task import TileTask
from fsr_deploy.runtime.open import parse_devices
from fsr_deploy.runtime.session import OPENVINO


@dataclass(frozen=True)
class FrameOptions:
    """What a user may choose about whole frames; the command's options, one to one.

    ``boxes`` is a file with the faces of the frames (``read_boxes``), ``find_faces`` a detector's ONNX file that finds
    them; ``save_boxes`` is where what it found is written. ``upscale`` is by how much frames are enlarged, 1 to 8, None
    for 4; ``faces_only`` writes the SR faces instead of frames; ``all_faces`` upscales also those that are large
    already. Raises UsageError for options that do not fit together.
    """

    boxes: str | None = None
    find_faces: str | None = None
    save_boxes: str | None = None
    upscale: int | None = None
    faces_only: bool = False
    all_faces: bool = False

    def __post_init__(self) -> None:
        if self.boxes is not None and self.find_faces is not None:
            raise UsageError("--boxes and --find-faces: the faces come from one of them; leave the other out")
        if not self.wanted and (others := [name for name, value in self._given() if value]):
            raise UsageError(f"{others[0]}: is for faces in whole frames; add --boxes or --find-faces")
        if self.save_boxes is not None and self.find_faces is None:
            raise UsageError("--save-boxes: writes what --find-faces finds; add it")
        if self.faces_only and self.upscale is not None:
            raise UsageError("--upscale: --faces-only writes no frames; leave one of them out")
        self.settings  # noqa: B018 (raises)

    @property
    def wanted(self) -> bool:
        """Whether frames are whole frames; otherwise each is a face."""
        return self.boxes is not None or self.find_faces is not None

    @property
    def settings(self) -> RestoreSettings:
        """How frames are restored."""
        upscale = 4 if self.upscale is None else self.upscale
        return RestoreSettings(upscale, self.all_faces, self.faces_only)

    def refuse_fit(self, fit: str) -> None:
        """Raise UsageError where --fit was given, which says how a whole frame is made a face."""
        if fit != "crop":
            raise UsageError(f"--fit {fit}: is for frames that are faces; leave it out")

    def tiles_instead(self, tile: Size | None, overlap: int | None, fit: str) -> TileTask | None:
        """Return the task of --tile and --overlap, None where neither is given.

        Raises UsageError where they do not go with each other or with what is chosen here.
        """
        if tile is None:
            if overlap is not None:
                raise UsageError(f"--overlap {overlap}: is for tiles; add --tile")
            return None
        if self.wanted:
            raise UsageError(f"--tile {written(tile)}: enlarges whole pictures; leave out --boxes and --find-faces")
        self.refuse_fit(fit)
        return TileTask(tile, overlap)

    def detector(self, device: str, threads: int | None = None) -> Detector | None:
        """Open the detector that was asked for, on the engine's device, the first of several; see ``open_detector``."""
        if self.find_faces is None:
            return None
        device = parse_devices(device)[0]
        detector = open_detector(self.find_faces, "cpu" if device.startswith(OPENVINO) else device, threads=threads)
        say(f"{self.find_faces}: {detector.title} finds the faces, device {detector.device}")
        return detector

    def task(self, work: Work, source: str, device: str, overwrite: bool = False) -> tuple[Work, FrameTask]:
        """Return what is to be made of the frames of ``work``, which were found in ``source``, and the work, with boxes
        of frames that are not there among its failures.

        Raises InputError for a file of boxes or a detector that cannot be used, MissingError without ONNX Runtime.
        """
        names = _names(work, source)
        if self.boxes is not None:
            known, missing = _match(read_boxes(self.boxes), names, _is_folder(source))
            failed = [(Path(source) / name, f"is in {self.boxes} and not among the frames") for name in missing]
            listing = replace(work.listing, failed=[*work.listing.failed, *failed])
            return replace(work, listing=listing), FrameTask(self.settings, known)
        detector = self.detector(device, threads=1 if len(work.jobs) > 1 else None)
        assert detector is not None
        return work, FrameTask(self.settings, None, detector, name_of(detector), names, self.saved(overwrite))

    def saved(self, overwrite: bool) -> SavedBoxes | None:
        """Return where the faces that are found go, None where nobody wants them; ``overwrite`` as ``SavedBoxes``."""
        return SavedBoxes(Path(self.save_boxes), overwrite) if self.save_boxes is not None else None

    def _given(self) -> list[tuple[str, object]]:
        """Return the names of the command's options with their values."""
        return [(f"--{one.name.replace('_', '-')}", getattr(self, one.name)) for one in fields(self)]


def name_of(detector: Detector) -> str:
    """Return what a detector is and what its results depend on."""
    version = imports.load("onnxruntime").__version__
    return "\n".join((detector.title, detector.sha256, detector.device.partition(":")[0], version))


def _names(work: Work, source: str) -> dict[Path, str]:
    """Return the name of each frame in files of boxes: its path from the folder, or from that of all listed paths."""
    paths = [job.source for job in work.jobs]
    root = Path(one_slash(source)) if _is_folder(source) else Path(os.path.commonpath([path.parent for path in paths]))
    return {path: path.relative_to(root).as_posix() for path in paths}


def _is_folder(source: str) -> bool:
    return source != "-" and is_folder(Path(source))


def _match(
    boxes: Boxes, names: Mapping[Path, str], whole_folder: bool
) -> tuple[dict[Path, tuple[Face, ...]], list[str]]:
    """Return the faces of each frame, and the names of a folder's frames that are not there.

    A frame has the faces of the longest name that its path ends with. Raises InputError where no frame has any, and for
    a name that two frames could mean.
    """
    if boxes.numbers:
        raise InputError(f"{boxes.path}: is for a film; for pictures, its columns are {COLUMNS}")
    claims: dict[str, list[Path]] = {}
    for path in names:
        parts = path.absolute().parts
        tails = ("/".join(parts[start:]) for start in range(len(parts)))
        if tail := next((tail for tail in tails if tail in boxes.names), None):
            claims.setdefault(tail, []).append(path)
    known = {}
    for name, paths in claims.items():
        meant = next((path for path in paths if names[path] == name), paths[0])
        if len(paths) > 1 and names[meant] != name:
            raise InputError(f"{boxes.path}: {name} could be {paths[0]} or {paths[1]}; name it with its folder")
        known[meant] = boxes.names[name]
    missing = [name for name in boxes.names if name not in claims]
    if missing and not known:
        raise InputError(f"{boxes.path}: has no faces of any of the frames; its first file is {missing[0]}")
    return known, missing if whole_folder else []
