"""Whole frames behind Triton's Python back end; fsr-serve copied this file as model.py. Triton's Python needs
fsr-deploy, and ONNX Runtime for the detector.

Finds the faces, has the model of faces upscale them within the server, where the faces of several frames come together
in its batches, and pastes them into the enlarged frame. A frame that cannot be restored is an error of its own request.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as triton

from fsr_deploy.errors import FsrError
from fsr_deploy.faces.detector import open_detector
from fsr_deploy.faces.restorer import FrameSteps, Prepared, RestoreSettings
from fsr_deploy.serving.triton_frames import DETECTOR_NAME, FACES, FRAME, FacesModel


class TritonPythonModel:
    """A frame (h, w, 3) uint8 RGB in; the enlarged frame (H, W, 3) and its faces (N, 5), x, y, w, h and score, out."""

    def initialize(self, args: dict[str, str]) -> None:
        """Open the detector of this version."""
        parameters = json.loads(args["model_config"])["parameters"]
        self.model = FacesModel.from_text(parameters["faces"]["string_value"])
        folder = Path(args["model_repository"]) / args["model_version"]
        finder = open_detector(folder / DETECTOR_NAME, "cpu")
        settings = RestoreSettings(upscale=int(parameters["upscale"]["string_value"]))
        self.steps = FrameSteps(self.model.info(), settings, finder)

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Restore the frames of all requests."""
        found = [self._prepare(request) for request in requests]
        faces = self._upscale([cut for one in found if isinstance(one, Prepared) for cut in one.lr_faces])
        return [self._answer(one, faces) for one in found]

    def _prepare(self, request: Any) -> Prepared | str:
        frame = np.from_dlpack(triton.get_input_tensor_by_name(request, FRAME))
        try:
            return self.steps.prepare(np.ascontiguousarray(frame))
        except FsrError as error:
            return str(error)

    def _upscale(self, faces: Sequence[Any]) -> Iterator[Any]:
        """Yield the SR faces of LR faces (h, w, 3)."""
        size = self.model.max_batch
        for start in range(0, len(faces), size):
            batch = np.stack(faces[start : start + size])
            tensor = triton.Tensor.from_dlpack(self.model.input, batch)
            asked = triton.InferenceRequest(
                model_name=self.model.name, requested_output_names=[self.model.output], inputs=[tensor]
            )
            answer = asked.exec()
            if answer.has_error():
                raise triton.TritonModelException(f"{self.model.name}: {answer.error().message()}")
            yield from np.array(np.from_dlpack(triton.get_output_tensor_by_name(answer, self.model.output)))

    def _answer(self, found: Prepared | str, faces: Iterator[Any]) -> Any:
        if isinstance(found, str):
            return triton.InferenceResponse([], triton.TritonError(found))
        restored = self.steps.finish(found, [next(faces) for _ in found.lr_faces])
        rows = [(*face.box, np.nan if face.score is None else face.score) for face in restored.faces]
        boxes = np.array(rows, np.float32).reshape(-1, 5)
        outputs = {FRAME: np.ascontiguousarray(restored.frame), FACES: boxes}
        return triton.InferenceResponse([triton.Tensor.from_dlpack(name, one) for name, one in outputs.items()])
