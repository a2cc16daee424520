"""A module as an ONNX graph of any batch, and what ONNX Runtime makes of it."""

from __future__ import annotations

import collections
import logging
import warnings

import onnx
import onnxruntime
import torch
from torch import Tensor, nn

_ALLOWED = """
    Add AveragePool BatchNormalization Clip Concat Conv Div Gather LeakyRelu MatMul Mul PRelu Pad Pow Reciprocal
    ReduceMean ReduceSum Reshape Resize Sigmoid Slice Softmax Split Sqrt Sub Transpose Unsqueeze
"""
# Operators that TensorRT's parser takes since 8.6.
ALLOWED = set(_ALLOWED.split())


def dynamic_graph(module: nn.Module, shape: tuple[int, ...]) -> onnx.ModelProto:
    """Export a module that takes one (N, *shape), traced at batch 2."""
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(
            module.eval(),
            (torch.zeros(2, *shape),),
            dynamo=True,
            opset_version=18,
            dynamic_shapes=({0: torch.export.Dim("N")},),
            verbose=False,
        )
    assert program is not None
    return program.model_proto


def operators(graph: onnx.ModelProto) -> collections.Counter[str]:
    return collections.Counter(node.op_type for node in graph.graph.node)


def shapes(graph: onnx.ModelProto) -> list[list[int | str]]:
    """Return the shapes of inputs and outputs; a symbolic dimension is its name."""
    values = (*graph.graph.input, *graph.graph.output)
    return [[d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim] for value in values]


def run(graph: onnx.ModelProto, x: Tensor) -> Tensor:
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    (y,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    return torch.from_numpy(y)
