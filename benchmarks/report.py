"""Print comparisons as a table, and as Markdown for docs/benchmarks.md."""

import os
import platform
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from benchmarks.comparisons import Comparison, Spread

_COLUMNS = ("measured", "figure", "baseline", "baseline's figure", "ratio", "better")


def print_report(comparisons: Sequence[Comparison]) -> None:
    """Print both tables; figures are medians, with the smallest and largest in brackets."""
    table = Table(*_COLUMNS, title="median (min–max)")
    for comparison in comparisons:
        table.add_row(*_cells(comparison))
    # Rich takes a file for a terminal of 80 columns.
    Console(width=None if sys.stdout.isatty() else 170).print(table)
    print("\nFor docs/benchmarks.md:\n")
    print(markdown(comparisons))


def markdown(comparisons: Sequence[Comparison]) -> str:
    """Return the table as Markdown, with a line that says where it was made."""
    rows = [_COLUMNS, ("---",) * len(_COLUMNS), *(_cells(comparison) for comparison in comparisons)]
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    machine = (
        f"{os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f} at the end, "
        f"{platform.system()} {platform.machine()}, Python {platform.python_version()}; "
        "median (min–max)."
    )
    return "\n".join([*lines, "", machine])


def _cells(comparison: Comparison) -> tuple[str, ...]:
    unit = comparison.unit
    return (
        comparison.name,
        _text(Spread.of(comparison.measured), f" {unit}"),
        comparison.baseline_name,
        _text(Spread.of(comparison.baseline), f" {unit}"),
        _text(comparison.ratio(), "×"),
        comparison.better,
    )


def _text(spread: Spread, unit: str) -> str:
    digits = 0 if spread.median >= 100 else 1 if spread.median >= 10 else 2  # noqa: PLR2004 - three digits
    median, low, high = (
        f"{value:.{digits}f}" for value in (spread.median, spread.smallest, spread.largest)
    )
    return f"{median}{unit} ({low}–{high})"
