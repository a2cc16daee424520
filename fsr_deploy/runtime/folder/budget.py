"""How much memory threads may hold at a time, all together."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

# Too little to be worth waiting or counting: a thread for each core, and more, may hold it.
SMALL = 1 << 20


class ByteBudget:
    """So many bytes for all threads; who wants more than that gets it when nobody else holds any.

    Less than SMALL is not counted.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self._held = 0
        self._changed = threading.Condition()

    @contextmanager
    def hold(self, count: int) -> Iterator[None]:
        """Wait for room and hold ``count`` bytes while the block runs."""
        if count < SMALL:
            yield
            return
        with self._changed:
            self._changed.wait_for(lambda: self._held == 0 or self._held + count <= self.total)
            self._held += count
        try:
            yield
        finally:
            with self._changed:
                self._held -= count
                self._changed.notify_all()
