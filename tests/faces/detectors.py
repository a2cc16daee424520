"""Small graphs with the inputs and outputs of the detectors that are known. They see a face wherever a cell of theirs
is red, always one of the same size, with its middle in the middle of the cell.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIDE = 40.0  # of a face, in pixels of what the detector sees
# Where its landmarks are in its box.
MARKS = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]])


class _Graph:
    """Collects convolutions of the input, each over whole cells."""

    def __init__(self, size: tuple[int | str, ...]) -> None:
        self.input = helper.make_tensor_value_info("input", TensorProto.FLOAT, size)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def constant(self, name: str, values: object, dtype: type = np.float32) -> str:
        self.weights.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def op(self, kind: str, inputs: list[str], output: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def cells(self, output: str, stride: int, red: list[float], bias: list[float], channel: int) -> str:
        """Add the mean of a cell's red (a channel of the input) times ``red``, plus ``bias``."""
        kernel = np.zeros((len(red), 3, stride, stride))
        kernel[:, channel] = np.array(red)[:, None, None] / stride**2 / 255
        names = [self.constant(f"{output}_{part}", value) for part, value in (("kernel", kernel), ("bias", bias))]
        return self.op("Conv", ["input", *names], output, strides=[stride, stride])

    def save(self, path: Path, outputs: dict[str, tuple[int | str, ...]], listed: bool = False) -> Path:
        values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()]
        inputs = [self.input]
        if listed:  # as older files do
            inputs += [helper.make_tensor_value_info(one.name, one.data_type, one.dims) for one in self.weights]
        graph = helper.make_graph(self.nodes, "detector", inputs, values, self.weights)
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
        return path


def write_centerface(path: Path) -> Path:
    """Write a graph like CenterFace's: for 10 pictures of 32x32, RGB, its weights listed among the inputs."""
    graph = _Graph((10, 3, 32, 32))
    graph.cells("red", 4, [40.0], [-20.0], channel=0)
    graph.op("Sigmoid", ["red"], "537")
    graph.cells("538", 4, [0.0] * 2, [float(np.log(SIDE / 4))] * 2, channel=0)
    graph.cells("539", 4, [0.0] * 2, [0.0] * 2, channel=0)
    graph.cells("540", 4, [0.0] * 10, MARKS[:, ::-1].ravel().tolist(), channel=0)
    shapes = {name: (10, count, 8, 8) for name, count in (("537", 1), ("538", 2), ("539", 2), ("540", 10))}
    return graph.save(path, shapes, listed=True)


def write_yunet(path: Path, stride: int = 8, fixed: int | None = None) -> Path:
    """Write a graph like YuNet's, BGR, that finds faces in cells of ``stride`` pixels. With ``fixed``, it does not work
    for pictures that are not so wide and high."""
    graph = _Graph((1, 3, fixed or 640, fixed or 640))
    offsets = 0.5 + (MARKS - 0.5) * SIDE / stride
    biases = {
        "cls": [0.0],
        "obj": [0.9],
        "bbox": [0.5, 0.5, *[float(np.log(SIDE / stride))] * 2],
        "kps": offsets.ravel().tolist(),
    }
    shapes: dict[str, tuple[int | str, ...]] = {}
    for name, bias in biases.items():
        for level in (8, 16, 32):
            red = 1.0 if name == "cls" and level == stride else 0.0
            graph.cells(f"{name}{level}", level, [red] * len(bias), bias, channel=2)
            graph.op("Transpose", [f"{name}{level}"], f"{name}{level}_last", perm=[0, 2, 3, 1])
            count = (fixed // level) ** 2 if fixed else -1
            shape = graph.constant(f"{name}{level}_shape", [1, count, len(bias)], np.int64)
            graph.op("Reshape", [f"{name}{level}_last", shape], f"{name}_{level}")
            shapes[f"{name}_{level}"] = (1, ((fixed or 640) // level) ** 2, len(bias))
    return graph.save(path, shapes)
