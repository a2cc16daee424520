"""What the stand-ins share: classes as strict as pybind's, plain properties, and types by ONNX's numbers."""

from __future__ import annotations

import enum
from types import ModuleType
from typing import Any

TYPES_OF_ONNX = {1: "FLOAT", 2: "UINT8", 3: "INT8", 6: "INT32", 7: "INT64", 9: "BOOL", 10: "HALF"}


class Enumeration(enum.Enum):
    def __int__(self) -> int:
        return int(self.value)


class Strict:
    """Refuses, as a pybind class does, to be given attributes that it does not have."""

    _trt: ModuleType  # the module of the release that a class belongs to

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_") and not hasattr(type(self), name):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        super().__setattr__(name, value)


class Setting:
    """A property that can be written and does nothing else."""

    def __init__(self, default: Any = None) -> None:
        self.default = default

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = f"_{name}"

    def __get__(self, instance: Any, owner: type) -> Any:
        return self if instance is None else getattr(instance, self.name, self.default)

    def __set__(self, instance: Any, value: Any) -> None:
        setattr(instance, self.name, value)


def dtype_of(trt: ModuleType, number: int) -> Any:
    """Return TensorRT's type of an ONNX type; a release without it computes in INT32."""
    members = trt.DataType.__members__
    return members.get(TYPES_OF_ONNX.get(number, ""), members["INT32"])
