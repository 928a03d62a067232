"""Map a function over items in threads, in order and with bounded look-ahead."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_in_threads(
    function: Callable[[Item], Result], items: Iterable[Item], *, max_workers: int
) -> Iterator[Result]:
    """Yield `function(item)` in the order of items.

    Items are taken as results are, at most 2 × max_workers ahead: 5,000 images are never in memory
    at once. The first error is raised when its result is due; items that have not begun by then are
    cancelled.
    """
    with ThreadPoolExecutor(max_workers, thread_name_prefix="transfer") as pool:
        ahead: deque[Future[Result]] = deque()
        try:
            for item in items:
                ahead.append(pool.submit(function, item))
                if len(ahead) >= 2 * max_workers:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            for future in ahead:
                future.cancel()
