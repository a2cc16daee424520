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

    Further items are taken only while the next result is not ready. So slow items do not delay results that are ready,
    and a slow consumer stops the stages before it, which bounds the memory. An exception in a step is raised in place
    of its result; results that nobody takes are not waited for.
    """
    pending: deque[Future[Result]] = deque()
    for item in items:
        pending.append(pool.submit(step, item))
        if len(pending) > ahead or pending[0].done():
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()
