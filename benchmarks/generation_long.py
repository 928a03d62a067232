"""Throughput of renders as short as real ones get: whether the servers ever wait for the worker."""

from collections.abc import Sequence

from benchmarks.comparisons import Comparison
from benchmarks.generation_throughput import measure


def run() -> Sequence[Comparison]:
    """Measure images of half a second; each side takes a minute and a half."""
    return measure(render_seconds=0.5, rounds=1)
