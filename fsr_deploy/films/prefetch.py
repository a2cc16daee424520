"""An iterator that works ahead in a thread of its own."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar("Item")
_END = object()
_PATIENCE_SECONDS = 0.1


@contextmanager
def prefetched(items: Iterable[Item], ahead: int) -> Iterator[Iterator[Item]]:
    """Yield an iterator over ``items``, of which up to ``ahead`` are made before they are asked for.

    What ``items`` raises is raised in its place. The thread has ended when the block has.
    """
    made: queue.Queue[object] = queue.Queue(ahead)
    stopped = threading.Event()
    failure: list[BaseException] = []

    def put(item: object) -> None:
        while not stopped.is_set():
            try:
                made.put(item, timeout=_PATIENCE_SECONDS)
            except queue.Full:
                continue
            return

    def work() -> None:
        try:
            for item in items:
                put(item)
                if stopped.is_set():
                    break
        except BaseException as error:
            failure.append(error)
        put(_END)

    def taken() -> Iterator[Item]:
        while (item := made.get()) is not _END:
            yield item  # type: ignore[misc]
        if failure:
            raise failure[0]

    thread = threading.Thread(target=work, name="decode", daemon=True)
    thread.start()
    try:
        yield taken()
    finally:
        stopped.set()
        thread.join()
