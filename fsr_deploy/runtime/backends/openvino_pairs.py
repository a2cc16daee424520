"""Pairs of Quantize and Dequantize in a graph that OpenVINO has read, as single roundings between real numbers.

OpenVINO reads a pair as a rounding to whole numbers of 8 bits and a product with the scale. On a CPU with VNNI and
without AMX it computes such a convolution wrong wherever anything stands between the pair and it that moves values and
does not change them, a concatenation or a change of shape: up to a quarter of the largest sum off (2026.4). The same
rounding with its results in real numbers runs in the same kernels, as fast, and is right.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fsr_deploy._util import imports

FORM = "pairs joined"  # tells compiled models of this form from others


def join_pairs(model: Any) -> int:
    """Replace each pair that rounds what a graph computes, to one scale, by one rounding; returns how many there were.

    Weights keep their pairs.
    """
    count = 0
    for node in model.get_ordered_ops():
        if node.get_type_name() == "Multiply" and (rounding := _joined(node)) is not None:
            node.output(0).replace(rounding.output(0))
            count += 1
    return count


def _joined(scaled: Any) -> Any | None:
    """Return the rounding that does what a pair does which ends in this product, None where none does."""
    scale = _constant(scaled.input_value(1).get_node())
    levels: Any = scaled.input_value(0).get_node()
    zero: Any = np.float32(0)
    if levels.get_type_name() == "Subtract":
        zero = _constant(levels.input_value(1).get_node())
        levels = levels.input_value(0).get_node()
    if scale is None or zero is None or scale.size > 1 or zero.size > 1:
        return None
    for _ in range(2):  # to 8 bits, and back
        if levels.get_type_name() != "Convert":
            return None
        levels = levels.input_value(0).get_node()
    if levels.get_type_name() != "FakeQuantize" or _constant(levels.input_value(0).get_node()) is not None:
        return None
    kind = levels.get_output_element_type(0)
    ends = [end for index in (3, 4) if (end := _constant(levels.input_value(index).get_node())) is not None]
    if kind != scaled.get_output_element_type(0) or len(ends) < 2:
        return None
    ops = imports.load("openvino").opset13
    results = [ops.constant((end.astype(np.float32) - zero) * scale.astype(np.float32), kind) for end in ends]
    return ops.fake_quantize(
        *(levels.input_value(index) for index in range(3)), *results, levels.get_attributes()["levels"]
    )


def _constant(node: Any) -> Any | None:
    """Return the value of a constant, which may be converted, as an array; None where it is none."""
    if node.get_type_name() == "Convert":
        node = node.input_value(0).get_node()
    return node.data if node.get_type_name() == "Constant" else None
