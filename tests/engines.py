"""Tiny ONNX engines for tests: (N, h, w, 3) uint8 in, each pixel repeated ``scale`` times, uint8 out."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper

FACTS = {"fsr.model": "tiny", "fsr.precision": "fp32", "fsr.trained": "true", "fsr.batches": "1,4,8"}


def write_onnx(
    path: Path,
    lr_size: int = 4,
    scale: int = 8,
    facts: Mapping[str, str] = FACTS,
    dtype: int = TensorProto.UINT8,
    batch: int | str = "N",
    work: int = 0,
) -> Path:
    """Write a graph that repeats pixels; ``work`` adds that many convolutions, whose result is multiplied by zero."""
    size = lr_size * scale
    nodes = [
        helper.make_node("Cast", ["lr"], ["lr_float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["lr_float"], ["chw"], perm=[0, 3, 1, 2]),
        helper.make_node(
            "Resize",
            ["chw", "", "scales"],
            ["big"],
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        ),
        *_busy_work("big", "result", work),
        helper.make_node("Transpose", ["result"], ["hwc"], perm=[0, 2, 3, 1]),
        helper.make_node("Cast", ["hwc"], ["sr"], to=dtype),
    ]
    kernel = np.full((3, 3, 7, 7), 1e-3, np.float32)
    constants = {"scales": np.array([1, 1, scale, scale], np.float32), "kernel": kernel, "zero": np.float32(0)}
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("lr", dtype, [batch, lr_size, lr_size, 3])],
        [helper.make_tensor_value_info("sr", dtype, [batch, size, size, 3])],
        [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, dict(facts))
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(onnx.shape_inference.infer_shapes(model), path)
    return path


def repeat_pixels(batch: NDArray[np.uint8], scale: int = 8) -> NDArray[np.uint8]:
    """Return what the tiny engine computes: (N, h, w, 3) -> (N, h * scale, w * scale, 3)."""
    return batch.repeat(scale, axis=1).repeat(scale, axis=2)


def _busy_work(source: str, result: str, count: int) -> list[onnx.NodeProto]:
    names = [source, *(f"work{i}" for i in range(count))]
    convolutions = [helper.make_node("Conv", [a, "kernel"], [b], pads=[3, 3, 3, 3]) for a, b in pairwise(names)]
    return [
        *convolutions,
        helper.make_node("Mul", [names[-1], "zero"], ["nothing"]),
        helper.make_node("Add", [source, "nothing"], [result]),
    ]


def optimised(model: ModelProto, folder: Path) -> list[NodeProto]:
    """Return the nodes that ONNX Runtime makes of a graph on this CPU, by way of a file in a folder."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    options.log_severity_level = 4
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return list(onnx.load(folder / "optimised.onnx").graph.node)
