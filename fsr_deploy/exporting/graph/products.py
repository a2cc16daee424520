"""Linear operators that engines lack or compute differently, as products with constant matrices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from fsr_deploy.exporting.graph.shapes import shape, tensors
from fsr_deploy.exporting.graph.spelled_out import Constants, Spelled, spell_out

Matrix = NDArray[np.float64]


def without_aligned_corners(model: ModelProto) -> None:
    """Write each bilinear Resize whose corners stay corners as a product for each side: engines differ in it."""
    aligned = helper.make_attribute("coordinate_transformation_mode", "align_corners")
    if any(node.op_type == "Resize" and aligned in node.attribute for node in model.graph.node):
        spell_out(model, "Resize", _Products.of(model).resize)


def without_transforms(model: ModelProto) -> None:
    """Write each Fourier transform of a side whose length is known as a product.

    TensorRT has no DFT, and OpenVINO 2026.4 takes axes away from some graphs with one and dies of others.
    """
    if any(node.op_type == "DFT" for node in model.graph.node):
        spell_out(model, "DFT", _Products.of(model).transform)


@dataclass(frozen=True)
class _Products:
    """What the nodes of a graph need to know: shapes (0 where unknown) and types of tensors, and matrices so far."""

    shapes: Mapping[str, list[int]]
    types: Mapping[str, int]
    made: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, model: ModelProto) -> _Products:
        known = tensors(model, strict=False)
        types = {value.name: value.type.tensor_type.elem_type for value in known}
        return cls({value.name: shape(value) for value in known}, types)

    def resize(self, node: NodeProto, constants: Constants) -> Spelled | None:
        """Return the nodes for a Resize of (N, c, h, w); None where it is another one."""
        given = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        kind = (given.get("mode"), given.get("coordinate_transformation_mode"), given.get("antialias", 0))
        x, y, name = node.input[0], node.output[0], node.name
        old, new = self.shapes.get(x, []), self.shapes.get(y, [])
        if kind != (b"linear", b"align_corners", 0) or len(old) != 4 or old[1] != new[1] or not all(old[1:] + new[1:]):
            return None
        rows, columns = (("corners", *sides) for sides in zip(old[2:], new[2:], strict=True))
        constant = [
            self._matrix(rows, corners(*rows[1:]), x),
            self._matrix((*columns, "turned"), corners(*columns[1:]).T, x),
        ]
        return [tensor for _, tensor in constant if tensor is not None], [
            helper.make_node("MatMul", [constant[0][0], x], [f"{y}.rows"], f"{name}.rows"),
            helper.make_node("MatMul", [f"{y}.rows", constant[1][0]], [y], name),
        ]

    def transform(self, node: NodeProto, constants: Constants) -> Spelled | None:
        """Return the nodes for a DFT; None where the length of its side is not known."""
        given = {attribute.name: attribute.i for attribute in node.attribute}
        x, y, name = node.input[0], node.output[0], node.name
        sides = self.shapes.get(x, [])
        wanted, place = [*node.input, "", ""][1:3]
        if any(tensor and tensor not in constants for tensor in (wanted, place)) or not sides:
            return None
        # The exporter always gives the axis: an attribute until opset 19, an input later.
        axis = int(constants[place]) if place else given.get("axis", 1)
        axis %= len(sides)
        if axis == 0 or sides[-1] not in (1, 2) or not sides[axis]:
            return None
        length = int(constants[wanted]) if wanted else sides[axis]
        inverse, half = bool(given.get("inverse", 0)), bool(given.get("onesided", 0))
        matrix = fourier(sides[axis], sides[-1], length, inverse=inverse, half=half)
        parts = 1 if inverse and half else 2
        constant, tensor = self._matrix(("fourier", sides[axis], sides[-1], length, inverse, half), matrix, x)
        leading = len(sides) - 2
        shapes = {f"{y}.flat": [0] * leading + [matrix.shape[0]]}
        shapes[f"{y}.parts"] = [0] * leading + [matrix.shape[1] // parts, parts]
        made = [helper.make_tensor(key, TensorProto.INT64, [len(dims)], dims) for key, dims in shapes.items()]
        order = [*(place for place in range(leading + 1) if place != axis), axis, leading + 1]
        back = [order.index(place) for place in range(leading + 2)]
        return [*made, *([tensor] if tensor is not None else [])], [
            helper.make_node("Transpose", [x], [f"{y}.last"], f"{name}.last", perm=order),
            helper.make_node("Reshape", [f"{y}.last", f"{y}.flat"], [f"{y}.row"], f"{name}.row"),
            helper.make_node("MatMul", [f"{y}.row", constant], [f"{y}.product"], f"{name}.product"),
            helper.make_node("Reshape", [f"{y}.product", f"{y}.parts"], [f"{y}.spectrum"], f"{name}.spectrum"),
            helper.make_node("Transpose", [f"{y}.spectrum"], [y], name, perm=back),
        ]

    def _matrix(self, key: tuple[Any, ...], matrix: Matrix, beside: str) -> tuple[str, TensorProto | None]:
        """Return the name of a matrix of the type of another tensor, with it where it is new."""
        kind = self.types[beside]
        name = ".".join(map(str, ("matrix", kind, *key)))
        if name in self.made:
            return name, None
        self.made.add(name)
        return name, numpy_helper.from_array(matrix.astype(helper.tensor_dtype_to_np_dtype(kind)), name)


def corners(old: int, new: int) -> Matrix:
    """Return how much of each old pixel is in each new one, (new, old), of bilinear weights with corners on corners."""
    places = np.linspace(0, old - 1, new) if new > 1 else np.zeros(1)
    return np.maximum(0, 1 - np.abs(places[:, None] - np.arange(old)))


def fourier(count: int, parts: int, length: int, *, inverse: bool, half: bool) -> Matrix:
    """Return the matrix of ONNX's DFT for rows of values (count, parts), parts 2 for real and imaginary ones.

    Its columns are (bins, 2); those of the inverse of a half spectrum are its ``length`` real values.
    """
    whole = not half or inverse
    j, k = np.arange(count)[:, None], np.arange(length if whole else length // 2 + 1)
    angles = 2 * np.pi * (j * k % length) / length
    taken = j < (length // 2 + 1 if half and inverse else length)  # the others are cut off
    weights = np.where(taken, 1 / length if inverse else 1.0, 0.0)
    if half and inverse:  # each bin but the first, and the middle one, stands for two
        weights = np.where((j == 0) | (2 * j == length), weights, 2 * weights)
    real, imaginary = weights * np.cos(angles), weights * np.sin(angles) * (1 if inverse else -1)
    rows = np.stack([np.stack([real, imaginary], -1), np.stack([-imaginary, real], -1)], 1)[:, :parts]
    if half and inverse:
        rows = rows[..., :1]
    return rows.reshape(count * parts, -1)
