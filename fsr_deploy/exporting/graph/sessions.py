"""A graph run on this CPU while it is being worked on."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnx import ModelProto

from fsr_deploy._util.cores import physical_cores
from fsr_deploy.runtime.backends.onnxruntime import EXACT_PRODUCTS

CHUNK = 4


def open_graph(model: ModelProto, threads: int | None = None, *, exact: bool = True) -> onnxruntime.InferenceSession:
    """Return a session of a graph on the CPU, with as many threads as the runtime takes unless told otherwise.

    Without ``exact`` products of 8 bits may overflow, as ONNX Runtime has it by itself.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or physical_cores()
    options.log_severity_level = 4
    # As the runtime's sessions: exact, and with threads that do not spin in the way of another session that is timed.
    options.add_session_config_entry(EXACT_PRODUCTS, "1" if exact else "0")
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def run_graph(model: ModelProto, inputs: NDArray[Any]) -> NDArray[Any]:
    """Return the graph's output for a batch of its input, run a few at a time."""
    session = open_graph(model)
    name = session.get_inputs()[0].name
    return np.concatenate(
        [session.run(None, {name: inputs[start : start + CHUNK]})[0] for start in range(0, len(inputs), CHUNK)]
    )
