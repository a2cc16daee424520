"""The faces that ranges are measured on, and the truth that quality is judged by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from fsr_deploy.exporting.graph.deployable import Io
from fsr_deploy.exporting.proof.reference import network_input, pictures_of
from fsr_deploy.images.codec import read_frame
from fsr_deploy.images.resize import lr_face
from fsr_deploy.synthetic import draw_face

SEED = 417  # of the drawn faces; neither those that networks are trained on nor those that engines are proven with


def calibration_faces(
    folder: Path | None, count: int, lr_size: int, scale: int, io: Io
) -> list[tuple[str, NDArray[Any]]]:
    """Return up to ``count`` named inputs of a graph, without a batch axis: of a folder, or else drawn faces.

    (h, w, 3) uint8 RGB LR faces, or with float ``io`` (3, H, W) float32 RGB in [-1, 1]. Raises InputError for a folder
    without images, and for an image that cannot be read.
    """
    if folder:
        named = [(str(path), read_frame(path)) for path in pictures_of(folder)[:count]]
    else:
        named = [(f"drawn face {index}", draw_face((SEED, index), lr_size * scale)) for index in range(count)]
    faces = [(name, lr_face(face, (lr_size, lr_size))) for name, face in named]
    return faces if io == "uint8" else [(name, network_input(face[None], scale).numpy()[0]) for name, face in faces]
