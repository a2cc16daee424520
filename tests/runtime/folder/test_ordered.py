import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from fsr_deploy.runtime.folder.ordered import ordered_map


def test_results_come_in_order_whatever_finishes_first():
    def slow_when_even(number: int) -> int:
        time.sleep(0.01 * (number % 2 == 0))
        return number

    with ThreadPoolExecutor(4) as pool:
        assert list(ordered_map(pool, slow_when_even, range(20), 5)) == list(range(20))


@pytest.mark.parametrize("ahead", [0, 1, 5])
def test_no_more_items_are_taken_than_allowed(ahead: int):
    taken = []

    def items():
        for number in range(50):
            taken.append(number)
            yield number

    with ThreadPoolExecutor(2) as pool:
        results = ordered_map(pool, lambda item: item, items(), ahead)
        for count in range(1, 10):
            next(results)
            assert len(taken) <= count + ahead


def test_as_many_items_as_allowed_are_worked_on_while_the_next_is_not_ready():
    together = threading.Barrier(4, timeout=60)
    with ThreadPoolExecutor(4) as pool:
        assert len(list(ordered_map(pool, lambda _: together.wait(), range(8), 3))) == 8


def test_results_do_not_wait_for_items_that_are_slow_to_come():
    done: list[int] = []
    received: list[int] = []
    waiting: list[int] = []

    def items():
        for number in range(10):
            while len(done) < number:  # an item comes when all before it are finished
                time.sleep(0.001)
            waiting.append(number - len(received))
            yield number

    with ThreadPoolExecutor(1) as pool:
        for result in ordered_map(pool, lambda item: done.append(item) or item, items(), 9):
            received.append(result)
    assert received == list(range(10)) and max(waiting) <= 2


def test_an_exception_appears_in_its_place_and_nothing_hangs():
    def fail_at_three(number: int) -> int:
        if number == 3:
            raise ValueError("three")
        return number

    seen = []
    with ThreadPoolExecutor(2) as pool, pytest.raises(ValueError, match="three"):
        for result in ordered_map(pool, fail_at_three, range(1000), 4):
            seen.append(result)
    assert seen == [0, 1, 2]
