"""parity.png and report.html, drawn of an export and again of a rebuilt plan; needs no torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fsr_deploy.bundle.info import PICTURE_NAME, REPORT_NAME, BundleInfo
from fsr_deploy.exporting.report.page import report_page
from fsr_deploy.images.codec import encode_frame
from fsr_deploy.images.face_table import MAX_ROWS, parity_picture
from fsr_deploy.images.levels import as_faces
from fsr_deploy.images.resize import resize


@dataclass(frozen=True)
class ReportFaces:
    """An engine's input and eager's output for a few faces, and the LR faces themselves, None where only floats are."""

    inputs: NDArray[Any]
    eager: NDArray[Any]
    lr: NDArray[np.uint8] | None

    def by(self, run: Callable[[NDArray[Any]], NDArray[Any]], at_once: int = MAX_ROWS) -> NDArray[np.uint8]:
        """Return what an engine makes of those that are drawn; ``at_once`` is the largest batch that it takes."""
        inputs = self.inputs[:MAX_ROWS]
        return as_faces(np.concatenate([run(inputs[i : i + at_once]) for i in range(0, len(inputs), at_once)]))


def draw(
    directory: Path, name: str, info: BundleInfo, engine: str, shown: ReportFaces, faces: NDArray[np.uint8]
) -> None:
    """Write parity.png and the report that shows it; ``name`` is what the bundle will be called.

    ``engine`` is the name of the plan, or else of the strictest engine that was proven; ``faces`` are its faces.
    """
    eager = as_faces(shown.eager[:MAX_ROWS])
    if shown.lr is None:
        bicubic = as_faces(shown.inputs[:MAX_ROWS])
    else:
        height, width = eager.shape[1:3]
        bicubic = np.stack([resize(face, (height, width)) for face in shown.lr[:MAX_ROWS]])
    content = encode_frame(parity_picture(shown.lr, bicubic, eager, faces, _footer(info, engine)), ".png")
    (directory / PICTURE_NAME).write_bytes(content)
    (directory / REPORT_NAME).write_text(report_page(info, name, content), encoding="utf-8")


def draw_page(directory: Path, name: str, info: BundleInfo) -> None:
    """Write the report anew around the picture that is there, if any is."""
    path = directory / PICTURE_NAME
    picture = path.read_bytes() if path.is_file() else b""
    (directory / REPORT_NAME).write_text(report_page(info, name, picture), encoding="utf-8")


def _footer(info: BundleInfo, engine: str) -> str:
    """Return the line under the picture."""
    parts = [f"{info.model} {info.precision} on {engine}"]
    parts += [] if info.trained else ["untrained weights"]
    return ", ".join(parts + ([] if info.parity_passed else ["over its parity budget"]))
