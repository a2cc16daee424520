"""The reference for an engine: faces, and the results of the unmodified network for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fsr_deploy._util.log import warn
from fsr_deploy._util.sizes import Size, as_shape, enlarged
from fsr_deploy.bundle.info import REFERENCE_NAME, TRUTH_NAME
from fsr_deploy.images.codec import read_frame
from fsr_deploy.images.listing import list_frames
from fsr_deploy.images.resize import Face, lr_face
from fsr_deploy.models.eager import Eager, network_input
from fsr_deploy.synthetic import faces

MAX_FACES = 32
CARRIED_FACES = 8
CHUNK = 8
SEED = 2025  # of the procedural faces; any but those that networks are trained on


@dataclass(frozen=True)
class Reference:
    """Some LR faces, (K, h, w, 3) uint8 RGB; an engine's input made of them; and eager's output for it.

    ``truth`` are the faces that they were reduced from, (K, H, W, 3) uint8 RGB, None where nobody knows.
    """

    lr: NDArray[np.uint8]
    inputs: NDArray[Any]
    outputs: NDArray[Any]
    truth: NDArray[np.uint8] | None = None

    def save(self, directory: Path, input_name: str, output_name: str) -> None:
        """Write the first faces for whoever proves a plan on another machine, under the graph's tensor names."""
        carried: dict[str, Any] = {input_name: self.inputs[:CARRIED_FACES], output_name: self.outputs[:CARRIED_FACES]}
        if self.truth is not None:
            carried[TRUTH_NAME] = self.truth[:CARRIED_FACES]
        np.savez_compressed(directory / REFERENCE_NAME, **carried)


def make_reference(
    eager: Eager,
    lr: NDArray[np.uint8],
    io: str,
    advance: Callable[[int], None],
    truth: NDArray[np.uint8] | None = None,
) -> Reference:
    """Run eager over LR faces; ``advance`` is told the faces done. ``truth`` is the reference's."""
    inputs = lr if io == "uint8" else network_input(lr, eager.upsampling).numpy()
    outputs = []
    for start in range(0, len(lr), CHUNK):
        outputs.append(eager.run(inputs[start : start + CHUNK]))
        advance(len(outputs[-1]))
    return Reference(lr, inputs, np.concatenate(outputs), truth)


def lr_faces(folder: Path | None, count: int, lr_size: Size, scale: int) -> NDArray[np.uint8]:
    """Return up to ``count`` LR faces of a size, (N, h, w, 3) uint8 RGB: of a folder, or else procedural ones.

    Raises InputError where the folder has no readable image.
    """
    height, width = as_shape(lr_size)
    source = _folder(folder) if folder else faces(count, SEED, enlarged(lr_size, scale))
    return np.stack([lr_face(face, (height, width)) for face in islice(source, count)])


def true_faces(count: int, size: Size) -> NDArray[np.uint8]:
    """Return what the drawn faces of ``lr_faces`` were reduced from, (N, H, W, 3) uint8 RGB of a size."""
    return np.stack(list(faces(count, SEED, size)))


def pictures_of(folder: Path) -> list[Path]:
    """Return the pictures below a folder, with a warning for each part of it that cannot be looked at."""
    listing = list_frames(folder)
    for path, reason in listing.failed:
        warn(f"{path}: {reason}")
    return listing.frames


def _folder(folder: Path) -> Iterator[Face]:
    return map(read_frame, pictures_of(folder))
