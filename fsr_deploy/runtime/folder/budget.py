"""A limit on the memory that all threads together hold at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Protocol

# Amounts below this are not counted, even with several threads per core.
SMALL = 1 << 20
_NOTHING = nullcontext()


class OverBudget(Exception):
    """More was asked for than a share of the budget has."""


class ByteBudget:
    """A number of bytes for all threads. A request above the limit is granted when no other thread holds any. Less than
    SMALL is not counted.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self._held = 0
        self._changed = threading.Condition()

    def hold(self, count: int) -> AbstractContextManager[None]:
        """Wait for room and hold ``count`` bytes while the block runs."""
        return _NOTHING if count < SMALL else self._hold(count)

    @contextmanager
    def _hold(self, count: int) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: self._held == 0 or self._held + count <= self.total)
            self._held += count
        try:
            yield
        finally:
            with self._changed:
                self._held -= count
                self._changed.notify_all()


@dataclass(frozen=True)
class Share:
    """The share of one process, which has no other threads to wait for; raises OverBudget for what is above it."""

    total: int

    def hold(self, count: int) -> AbstractContextManager[None]:
        """Hold ``count`` bytes while the block runs."""
        if count > self.total:
            raise OverBudget
        return _NOTHING


class Budget(Protocol):
    """A limit on bytes."""

    def hold(self, count: int) -> AbstractContextManager[None]:
        """Hold ``count`` bytes while the block runs."""
        ...
