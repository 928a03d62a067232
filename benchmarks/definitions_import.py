"""Importing the code location against importing Dagster alone, each time in a new process."""

import subprocess
import sys
import tempfile
from collections.abc import Sequence

from benchmarks.comparisons import Comparison

ROUNDS = 9
_PROGRAM = "import time; t = time.perf_counter(); import {}; print(time.perf_counter() - t)"


def run() -> Sequence[Comparison]:
    """Measure seconds of the import, without those of starting Python."""
    ours: list[float] = []
    dagster: list[float] = []
    _import_seconds("influencerai_dagster.definitions")  # writes what .pyc files are missing
    for _ in range(ROUNDS):
        dagster.append(_import_seconds("dagster"))
        ours.append(_import_seconds("influencerai_dagster.definitions"))
    return [
        Comparison(
            name="import influencerai_dagster.definitions",
            baseline_name="import dagster",
            unit="s",
            measured=ours,
            baseline=dagster,
            better="lower",
        )
    ]


def _import_seconds(module: str) -> float:
    # In an empty folder: the settings would read a .env of this one.
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-c", _PROGRAM.format(module)],
            cwd=folder,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
    return float(done.stdout)
