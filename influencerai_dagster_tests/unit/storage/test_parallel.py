"""The parallel map keeps order, bounds what is ahead, and raises each error at its position."""

import threading
from collections.abc import Iterator

import pytest

from influencerai_dagster.storage.parallel import map_in_threads


def test_results_come_in_the_order_of_items() -> None:
    second_ran = threading.Event()

    def work(item: int) -> int:
        if item == 0:
            assert second_ran.wait(timeout=10)
        if item == 1:
            second_ran.set()
        return item * 10

    assert list(map_in_threads(work, range(20), max_workers=2)) == [i * 10 for i in range(20)]


def test_items_are_taken_only_as_results_are() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for item in range(1000):
            taken.append(item)
            yield item

    results = map_in_threads(lambda item: item, items(), max_workers=4)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    assert len(taken) <= 3 + 2 * 4
    results.close()  # type: ignore[attr-defined] # it is a generator


def test_an_error_is_raised_at_its_position_and_stops_the_rest() -> None:
    started: list[int] = []

    def work(item: int) -> int:
        started.append(item)
        if item == 3:
            raise ValueError("three")
        return item

    results = map_in_threads(work, range(1000), max_workers=2)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="three"):
        next(results)
    assert len(started) < 12
