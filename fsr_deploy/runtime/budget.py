"""How much memory threads may hold at a time, all together."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class ByteBudget:
    """So many bytes for all threads; who wants more than that gets it when nobody else holds any."""

    def __init__(self, total: int) -> None:
        self.total = total
        self._held = 0
        self._changed = threading.Condition()

    @contextmanager
    def hold(self, count: int) -> Iterator[None]:
        """Wait for room and hold ``count`` bytes while the block runs."""
        with self._changed:
            self._changed.wait_for(lambda: self._held == 0 or self._held + count <= self.total)
            self._held += count
        try:
            yield
        finally:
            with self._changed:
                self._held -= count
                self._changed.notify_all()
