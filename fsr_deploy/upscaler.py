"""A loaded engine: pictures of any size and kind in, SR faces of the same kind out."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from fsr_deploy._util.log import ProgressCallback, reporting, to_callback
from fsr_deploy.bundle.info import Bundle, place
from fsr_deploy.errors import InputError, UsageError, refuse_unknown
from fsr_deploy.images.codec import read_frame
from fsr_deploy.images.pillow_decoder import from_pillow
from fsr_deploy.images.resize import FITS, Fit, lr_face
from fsr_deploy.runtime.open import open_session
from fsr_deploy.runtime.session import Batch, EngineInfo, Session

if TYPE_CHECKING:
    from PIL.Image import Image

    from fsr_deploy.faces.face import Face
    from fsr_deploy.faces.restorer import Finder, Restored
    from fsr_deploy.films.summary import FilmSummary
    from fsr_deploy.runtime.folder.summary import RunSummary
    from fsr_deploy.runtime.folder.task import Task

Array = NDArray[np.uint8]
Picture = TypeVar("Picture", NDArray[np.uint8], "Image")


class Upscaler:
    """An engine loaded on a device, made by ``load``.

    Call it with pictures; close it when done, or use it in a ``with`` block. ``info`` has the engine, its device, its
    precision and the shapes of its LR and SR faces.
    """

    def __init__(self, session: Session, fit: Fit = "crop", finder: Finder | None = None) -> None:
        self._session = session
        self._fit = fit
        self._finder = finder
        self._closed = False

    @property
    def info(self) -> EngineInfo:
        """The engine, its device and precision, and the shapes of its faces."""
        return self._session.info

    @property
    def in_flight(self) -> int:
        """How many threads should call this at the same time; more than one with ``load(..., throughput=True)``."""
        return self._session.in_flight

    @overload
    def __call__(self, faces: Picture) -> Picture: ...
    @overload
    def __call__(self, faces: str | os.PathLike[str]) -> Array: ...
    @overload
    def __call__(self, faces: Sequence[Any]) -> list[Any]: ...
    def __call__(self, faces: Any) -> Any:
        """Return the SR face of a picture, or of each of several, as the same kind of object.

        ``faces`` is an (h, w, 3) uint8 RGB array, a batch (N, h, w, 3) of them, a PIL image, the path of an image file
        (its SR face is an array), or a list of these. Pictures of any size are made LR faces as ``fsr-run`` does it.
        Raises InputError for a file that cannot be read and for arrays of other shapes and types.
        """
        if isinstance(faces, list | tuple):
            pictures = [_to_array(face) for face in faces]
            return [_like(sr, face) for sr, face in zip(self._upscale(pictures), faces, strict=True)]
        if isinstance(faces, np.ndarray) and faces.ndim == 4:
            return np.stack(self._upscale([_checked(face) for face in faces])) if len(faces) else self._empty()
        return _like(self._upscale([_to_array(faces)])[0], faces)

    def restore(self, frame: Any, faces: Sequence[Face] | None = None, **settings: Any) -> Restored:
        """Enlarge a whole picture and upscale the faces in it.

        ``frame`` is an (h, w, 3) RGB array, uint8 or uint16, a PIL image or the path of an image file. ``faces`` say
        where its faces are; without them, the detector looks for them that ``load`` was given as ``find_faces``.
        ``settings`` are RestoreSettings' fields: ``upscale``, ``all_faces``, ``faces_only``, ``filter``. The result's
        ``frame`` is of the same kind as the picture (of a path: an array), its ``sr_faces`` are arrays.

        Raises UsageError where there is neither, InputError for a picture or a face that cannot be used.
        """
        from fsr_deploy.faces.restorer import FrameRestorer, RestoreSettings

        _refuse_other_options("restore", settings, RestoreSettings)
        sixteen = isinstance(frame, np.ndarray) and frame.dtype == np.uint16
        restorer = FrameRestorer(self._engine(), RestoreSettings(**settings), self._finder)
        restored = restorer.restore(frame if sixteen else _to_array(frame), faces)
        return restored if restored.frame is None else replace(restored, frame=_like(restored.frame, frame))

    def run(
        self,
        source: str | os.PathLike[str],
        output: str | os.PathLike[str] | None = None,
        *,
        progress: ProgressCallback | None = None,
        **options: Any,
    ) -> RunSummary | FilmSummary:
        """Upscale a folder, an image or a film to files, as ``fsr-run`` does; continues a run that was stopped.

        ``output`` is the input's name with "_sr" unless given, with "_faces" for the faces of a film alone. ``options``
        are RunOptions' fields, and FrameOptions' for whole frames, TileTask's for pictures in tiles and FilmOptions'
        for a film. ``progress`` is called with what is counted, how many are done and how many there are. Raises
        UsageError, InputError and MissingError as the command says them.
        """
        from fsr_deploy.faces.options import FrameOptions
        from fsr_deploy.films.kinds import is_film
        from fsr_deploy.films.options import FilmOptions, find_film, upscale_film
        from fsr_deploy.runtime.folder.tile_task import TileTask
        from fsr_deploy.runtime.folder.upscale import RunOptions, upscale_files

        kind = FilmOptions if is_film(str(source)) else RunOptions
        _refuse_other_options("run", options, kind, FrameOptions, *([] if kind is FilmOptions else [TileTask]))
        tiling = {name: options.pop(name) for name in ("tile", "overlap") if name in options}
        about_frames = {field.name for field in fields(FrameOptions)} & set(options)
        frames = FrameOptions(**{name: options.pop(name) for name in about_frames})
        chosen = kind(**{"fit": self._fit, **options})
        names = str(source), None if output is None else str(output)
        with reporting(to_callback(progress) if progress else None):
            if isinstance(chosen, FilmOptions):
                return upscale_film(self._engine(), *find_film(*names, chosen, frames), chosen, frames)
            work = chosen.find(*names)
            fit = str(options.get("fit", "crop"))
            task: Task | None = frames.tiles_instead(tiling.get("tile"), tiling.get("overlap"), fit)
            if frames.wanted:
                frames.refuse_fit(fit)
                work, task = frames.task(work, str(source), self.info.device, chosen.overwrite)
            return upscale_files(self._engine(), work, chosen, task=task)

    def close(self) -> None:
        """Free what the engine holds on its device; the upscaler cannot be used afterwards, which raises UsageError."""
        if not self._closed:
            self._closed = True
            self._session.close()

    def __enter__(self) -> Upscaler:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _engine(self) -> Session:
        if self._closed:
            raise UsageError(f"this engine was closed ({self.info.engine}); load it again")
        return self._session

    def _upscale(self, pictures: Sequence[Array]) -> list[Array]:
        engine, info = self._engine(), self.info
        batch = min(info.best_batch, info.max_batch or info.best_batch)
        lr = [lr_face(picture, info.lr_shape, self._fit) for picture in pictures]
        starts = range(0, len(lr), batch)
        return [face for start in starts for face in engine.upscale(np.stack(lr[start : start + batch]))]

    def _empty(self) -> Batch:
        return np.empty((0, *self.info.sr_shape, 3), np.uint8)


def load(
    engine: str | os.PathLike[str] | Bundle,
    device: str = "auto",
    *,
    backend: str | None = None,
    fit: Fit = "crop",
    trust: bool = False,
    throughput: bool = False,
    find_faces: str | os.PathLike[str] | None = None,
    verify: str | os.PathLike[str] | None = None,
) -> Upscaler:
    """Load an engine: a bundle (or its directory), its ``engine.plan`` or ``model.onnx``.

    ``device`` is "auto", "cpu", "cuda", "cuda:1", or "openvino:CPU" and the like. ``backend`` is what runs a graph:
    "onnxruntime", "openvino", "openvino-bf16", or None for what the bundle was proven with; another one is proven only
    by ``fsr-run``. ``fit`` says how pictures of other proportions are fitted: "crop"
    keeps their middle, "stretch" all of them. ``trust`` allows a plan without a bundle, which can run code.
    ``throughput`` is for many pictures: the highest total rate instead of the lowest latency. ``find_faces`` is a face
    detector's ONNX file, for ``Upscaler.restore``. ``verify`` is a public EC key (PEM) that the signature of the bundle
    is checked with before anything is loaded, see ``bundle.signature.verify``. Raises UsageError, InputError and
    MissingError as ``open_session`` and ``open_detector`` do.
    """
    refuse_unknown("--fit", fit, FITS)
    if verify is not None:
        from fsr_deploy.bundle import signature

        signature.verify(engine, verify)
    finder = None
    if find_faces is not None:
        from fsr_deploy.faces.options import FrameOptions

        finder = FrameOptions(find_faces=str(find_faces)).detector(device)
    session = open_session(place(engine), device, backend=backend, trust=trust, throughput=throughput)
    return Upscaler(session, fit, finder)


def _refuse_other_options(function: str, options: Mapping[str, Any], *kinds: Any) -> None:
    unknown = sorted(set(options) - {field.name for kind in kinds for field in fields(kind)})
    if unknown:
        names = " and ".join(kind.__name__ for kind in kinds)
        raise UsageError(f"{function} has no option {unknown[0]!r}; see {names} for those there are")


def _to_array(face: Any) -> Array:
    """Return an array, a PIL image or an image file as (h, w, 3) uint8 RGB."""
    if isinstance(face, np.ndarray):
        return _checked(face)
    if isinstance(face, str | os.PathLike):
        return read_frame(Path(face))
    if hasattr(face, "convert"):
        return from_pillow(face)
    raise InputError(f"{type(face).__name__}: not a picture; give an (h, w, 3) uint8 array, a PIL image or a path")


def _checked(face: NDArray[Any]) -> Array:
    if face.dtype != np.uint8 or face.ndim != 3 or face.shape[2] != 3 or 0 in face.shape:
        raise InputError(f"an array of {face.dtype} {face.shape}; give uint8 RGB of shape (h, w, 3) or (N, h, w, 3)")
    return face


def _like(sr: Array, face: Any) -> Any:
    """Return an SR face as the same kind of object as its picture."""
    if isinstance(face, np.ndarray | str | os.PathLike):
        return sr
    from PIL import Image

    return Image.fromarray(sr)
