"""Sizes that depend on the batch, while a network is traced: which code fixes them, and int() that keeps them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import torch
from torch import SymFloat, SymInt, nn
from torch.fx.experimental.symbolic_shapes import ShapeEnv, is_concrete_int

import fsr_deploy

# Batches that a statement about all of them is tried with; large ones too, because quotients are rounded. A batch of
# one is not among them: PyTorch has statements about it that are of the memory's layout alone.
TRIED = (2, 3, 4, 5, 7, 8, 16, 63, 1000, 65537)


class BatchSize:
    """The batch size of a network that is traced, N, as the trace sees it."""

    def __init__(self, size: Any) -> None:
        self._size = size
        self._symbols = set() if is_concrete_int(size) else size.node.expr.free_symbols
        self._guards = 0
        self._factors: dict[Any, int | None] = {}

    def is_fixed(self) -> bool:
        """Return whether what ran since the last call holds for some batches alone."""
        if is_concrete_int(self._size):
            return True
        environment: ShapeEnv = self._size.node.shape_env
        new = [guard.expr for guard in environment.guards[self._guards :]]
        self._guards += len(new)
        return not all(self._at(guard, n) for guard in new for n in TRIED)

    def whole(self, value: SymInt | SymFloat) -> SymInt | int | None:
        """Return the whole part of a value that is N times a whole number, as N times that number; None for others."""
        expression = value.node.expr
        if expression not in self._factors:
            self._factors[expression] = self._factor(expression)
        factor = self._factors[expression]
        whole: SymInt | int | None = None if factor is None else self._size * factor
        return whole

    def _factor(self, expression: Any) -> int | None:
        if expression.free_symbols != self._symbols:
            return None
        factor = float(self._at(expression, TRIED[0])) / TRIED[0]
        if not factor.is_integer() or any(float(self._at(expression, n)) != factor * n for n in TRIED):
            return None
        return int(factor)

    def _at(self, expression: Any, batch: int) -> Any:
        return expression.subs(dict.fromkeys(self._symbols, batch))


@contextmanager
def whole_batches(network: nn.Module) -> Iterator[None]:
    """In the block, int() in the network's own files returns sizes that depend on the batch as such.

    ``int(windows.shape[0] / 16)`` is how window attention counts its pictures, and Python's int would return what it
    is for the batch that the trace runs with.
    """
    batch: list[BatchSize] = []

    def enter(_: nn.Module, inputs: tuple[Any, ...]) -> None:
        batch[:] = [BatchSize(inputs[0].shape[0])]

    class IntType(type):
        def __instancecheck__(cls, value: object) -> bool:
            return isinstance(value, int)

        def __subclasscheck__(cls, kind: type) -> bool:
            return issubclass(kind, int)

        def __call__(cls, *arguments: Any, **options: Any) -> Any:
            value = arguments[0] if arguments else 0
            known = batch[0].whole(value) if batch and isinstance(value, SymInt | SymFloat) else None
            return int(*arguments, **options) if known is None else known

    class Whole(int, metaclass=IntType):
        pass

    files = _files(network)
    own = [file for file in files if "int" not in vars(file)]
    handle = network.register_forward_pre_hook(enter, prepend=True)
    for file in own:
        vars(file)["int"] = Whole
    try:
        yield
    finally:
        for file in own:
            del vars(file)["int"]
        handle.remove()


def _files(network: nn.Module) -> list[ModuleType]:
    """Return the loaded modules of the packages that a network's classes come from, without PyTorch's and ours."""
    names = {type(module).__module__.partition(".")[0] for module in network.modules()}
    names -= {torch.__name__, fsr_deploy.__name__}
    return [file for name, file in list(sys.modules.items()) if file and name.partition(".")[0] in names]
