"""Time two things side by side, and hold what a benchmark returns; report.py prints it.

The two sides alternate within one run, so that a machine that is busy for a while slows both; the
ratio is taken round by round.
"""

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Spread:
    """Median, smallest and largest of some figures."""

    median: float
    smallest: float
    largest: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Return the spread of at least one value."""
        return cls(statistics.median(values), min(values), max(values))


@dataclass(frozen=True)
class Comparison:
    """One line of the table.

    Attributes:
        name: what is measured.
        baseline_name: what it is compared with.
        unit: of both figures.
        measured: our figure in each round.
        baseline: the other figure in the same rounds.
        better: which way the ratio measured / baseline is an improvement.
    """

    name: str
    baseline_name: str
    unit: str
    measured: Sequence[float]
    baseline: Sequence[float]
    better: Literal["higher", "lower"]

    def ratio(self) -> Spread:
        """Return the spread of measured / baseline over the rounds."""
        pairs = zip(self.measured, self.baseline, strict=True)
        return Spread.of([measured / baseline for measured, baseline in pairs])


class Stopwatch:
    """Seconds of parts of what is timed, by name, in the order of the rounds."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = defaultdict(list)

    @contextmanager
    def timing(self, name: str) -> Iterator[None]:
        """Time the block."""
        started = time.perf_counter()
        yield
        self.seconds[name].append(time.perf_counter() - started)


def _nothing() -> None: ...


def alternate(
    sides: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    prepare: Callable[[], object] = _nothing,
) -> dict[str, Sequence[float]]:
    """Run every side once a round, beginning with another each round; return their seconds.

    Args:
        sides: by name.
        rounds: their number.
        prepare: runs before each of them, and is not timed.
    """
    names = list(sides)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for first in range(rounds):
        for offset in range(len(names)):
            name = names[(first + offset) % len(names)]
            prepare()
            started = time.perf_counter()
            sides[name]()
            seconds[name].append(time.perf_counter() - started)
    return dict(seconds)
