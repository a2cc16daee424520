"""The formats of 8 bits that convolutions are quantised to: INT8, and FP8 (E4M3), each with its largest value.

A float is divided by a scale, so that the largest becomes the format's largest, and rounded to the nearest value that
the format has, of two equally near ones to the even one; what is beyond the largest becomes that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from fsr_deploy.bundle.info import MIXED_FP8

SIGN = 0x80


def _e4m3() -> NDArray[np.float32]:
    """Return what the codes 0 to 126 of E4M3 stand for, 0 to 448; with SIGN they are negative, 127 is NaN.

    4 bits of exponent, biased by 7, and 3 of mantissa, which has a leading 1 unless the exponent is 0 (OCP 8-bit
    floating point, 2023; "float8e4m3fn" in ONNX).
    """
    exponent, mantissa = np.divmod(np.arange(127), 8)
    return np.ldexp(np.where(exponent, 8.0 + mantissa, mantissa), np.maximum(exponent, 1) - 10).astype(np.float32)


E4M3 = _e4m3()
_BETWEEN = (E4M3[:-1] + E4M3[1:]) / 2  # exact in FP32


@dataclass(frozen=True)
class NumberFormat:
    """Numbers of 8 bits: ``largest`` is the largest of them, ``onnx_type`` their type in a graph.

    ``floating`` numbers have steps that grow with them. ``most_taps`` is how many weights of one input channel a
    convolution has at most, None for any number.
    """

    name: str
    largest: int
    onnx_type: int
    floating: bool = False
    most_taps: int | None = None

    @property
    def title(self) -> str:
        """The name as a sentence writes it: "INT8"."""
        return self.name.upper()

    def codes(self, values: NDArray[np.floating[Any]], largest: int | None = None) -> NDArray[np.generic]:
        """Return the bits of the nearest numbers, int8 or for FP8 uint8, none larger than ``largest``."""
        largest = largest or self.largest
        if not self.floating:
            return np.clip(np.round(values), -largest, largest).astype(np.int8)
        magnitudes = np.minimum(np.abs(values).astype(np.float32), largest)
        below, above = (np.searchsorted(_BETWEEN, magnitudes, side) for side in ("left", "right"))
        nearest = np.where(below % 2, above, below)  # they differ in the middle between two numbers only
        return (nearest | np.where(np.signbit(values), SIGN, 0)).astype(np.uint8)

    def numbers(self, codes: NDArray[Any]) -> NDArray[np.float32]:
        """Return what codes stand for."""
        if not self.floating:
            return codes.astype(np.float32)
        return np.where(codes & SIGN, -1, 1).astype(np.float32) * E4M3[codes & ~np.uint8(SIGN)]

    def tensor(self, name: str, codes: NDArray[Any]) -> TensorProto:
        """Return a constant of a graph that holds these codes."""
        if not self.floating:
            return numpy_helper.from_array(codes, name)
        return helper.make_tensor(name, self.onnx_type, codes.shape, codes.tobytes(), raw=True)


INT8 = NumberFormat("int8", 127, TensorProto.INT8)
# TensorRT for RTX 1.7 fuses 4x8 but neither 3x11 nor 7x7: such a convolution is computed in FP16, after a pass over
# memory that turns its input back into floats.
FP8 = NumberFormat("fp8", 448, TensorProto.FLOAT8E4M3FN, floating=True, most_taps=32)


def format_of(precision: str) -> NumberFormat:
    """Return the format of the convolutions of a precision, one of bundle.QUANTISED."""
    return FP8 if precision == MIXED_FP8 else INT8
