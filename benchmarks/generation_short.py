"""Throughput of renders that take next to no time: the cost of our own code."""

from collections.abc import Sequence

from benchmarks.comparisons import Comparison
from benchmarks.generation_throughput import measure


def run() -> Sequence[Comparison]:
    """Measure images of 5 ms."""
    return measure(render_seconds=0.005, rounds=3)
