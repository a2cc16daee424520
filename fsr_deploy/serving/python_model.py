"""A bundle behind Triton's Python back end; fsr-serve copied this file as model.py. Triton's Python needs fsr-deploy.

The bundle is opened as fsr-run opens it: hashes checked, plans looked at before they are loaded, graphs run as they
were proven. What is wrong with it keeps the model from loading, and is the sentence in Triton's log.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as triton

import fsr_deploy as fsr


class TritonPythonModel:
    """LR faces (N, h, w, 3) uint8 RGB in, SR faces (N, H, W, 3) uint8 RGB out."""

    def initialize(self, args: dict[str, str]) -> None:
        """Open the bundle of this version on the device of this instance."""
        config = json.loads(args["model_config"])
        self.input, self.output = config["input"][0]["name"], config["output"][0]["name"]
        device = f"cuda:{args['model_instance_device_id']}" if args["model_instance_kind"] == "GPU" else "cpu"
        bundle = Path(args["model_repository"]) / args["model_version"] / "bundle"
        self.upscaler = fsr.load(bundle, device, throughput=True)
        self.threads = ThreadPoolExecutor(self.upscaler.in_flight)

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Upscale the faces of all requests together, in batches of the engine's best size."""
        # By DLPack: with NumPy 2, as_numpy and Tensor of Triton's older releases get the size of an array wrong.
        asked = [np.from_dlpack(triton.get_input_tensor_by_name(request, self.input)) for request in requests]
        faces, size = np.concatenate(asked), self.upscaler.info.best_batch
        parts = [faces[start : start + size] for start in range(0, len(faces), size)]
        sr = np.concatenate(list(self.threads.map(self.upscaler, parts)))
        answers = np.split(sr, list(accumulate(map(len, asked)))[:-1])
        return [triton.InferenceResponse([triton.Tensor.from_dlpack(self.output, answer)]) for answer in answers]

    def finalize(self) -> None:
        """Free what the engine holds."""
        self.threads.shutdown()
        self.upscaler.close()
