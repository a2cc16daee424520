"""An iterator that works ahead keeps order, stops where it is told to, and hides no error."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from fsr_deploy.films.prefetch import prefetched


def test_items_come_in_order_and_only_so_many_ahead() -> None:
    made = []

    def items() -> Iterator[int]:
        for item in range(20):
            made.append(item)
            yield item

    with prefetched(items(), 3) as taken:
        assert next(taken) == 0
        assert [next(taken) for _ in range(4)] == [1, 2, 3, 4]
        assert len(made) <= 4 + 3 + 2
        assert list(taken) == list(range(5, 20))


def test_an_error_comes_after_the_items_before_it() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise KeyError("broken")

    with prefetched(items(), 5) as taken:
        assert next(taken) == 1
        with pytest.raises(KeyError, match="broken"):
            next(taken)


def test_leaving_early_ends_the_thread_and_closes_what_it_read() -> None:
    closed = []

    def items() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.append(True)

    before = threading.active_count()
    with prefetched(items(), 2) as taken:
        next(taken)
    assert threading.active_count() == before
    assert closed == [True]
