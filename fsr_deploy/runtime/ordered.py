"""A parallel map that keeps order and never runs far ahead."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def ordered_map(pool: Executor, step: Callable[[Item], Result], items: Iterable[Item], ahead: int) -> Iterator[Result]:
    """Yield ``step(item)`` for each item in order, while the pool works on up to ``ahead`` further items.

    Items are taken only as results are, so that a slow consumer holds everything before it back and memory stays
    bounded. An exception in a step appears where its result would have; nothing waits for results that no one takes.
    """
    pending: deque[Future[Result]] = deque()
    for item in items:
        pending.append(pool.submit(step, item))
        if len(pending) > ahead:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()
