"""Run a graph on this CPU during the export."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnx import ModelProto

from fsr_deploy.runtime.backends.onnxruntime import optimisations, session_options

CHUNK = 4


def open_graph(
    model: ModelProto, threads: int | None = None, *, exact: bool = True, optimised: bool = True
) -> onnxruntime.InferenceSession:
    """Return a session of a graph on the CPU, by default with as many threads as fsr-run uses. Without ``exact``, 8-bit
    products may overflow on a CPU without VNNI, which is ONNX Runtime's default. Without ``optimised`` the graph runs
    as it is, which pays where it has thousands of nodes and runs once.
    """
    options = session_options(onnxruntime, threads, exact=exact)
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    content = model.SerializeToString()
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"], **optimisations(content))


def run_graph(model: ModelProto, inputs: NDArray[Any]) -> NDArray[Any]:
    """Return the graph's output for a batch of its input, run a few at a time."""
    session = open_graph(model)
    name = session.get_inputs()[0].name
    return np.concatenate(
        [session.run(None, {name: inputs[start : start + CHUNK]})[0] for start in range(0, len(inputs), CHUNK)]
    )
