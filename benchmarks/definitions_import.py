"""Importing the code location against importing Dagster, and the libraries it needs at import.

CPU seconds, each in a new process: reading the disk and other programs do not count.
"""

import subprocess
import sys
import tempfile
from collections.abc import Sequence

from benchmarks.comparisons import Comparison

ROUNDS = 9
_OURS = "influencerai_dagster.definitions"
_DAGSTER = "dagster"
_LIBRARIES = "dagster, alembic.command, sqlalchemy.orm, httpx, websockets, PIL.Image"
_PROGRAM = "import time; t = time.process_time(); import {}; print(time.process_time() - t)"


def run() -> Sequence[Comparison]:
    """Measure CPU seconds of the import, without those of starting Python."""
    seconds: dict[str, list[float]] = {_DAGSTER: [], _OURS: [], _LIBRARIES: []}
    for modules in seconds:
        _import_seconds(modules)  # writes what .pyc files are missing
    for _ in range(ROUNDS):
        for modules, values in seconds.items():
            values.append(_import_seconds(modules))
    return [
        Comparison(
            name=f"import {_OURS}",
            baseline_name=f"import {modules}",
            unit="CPU s",
            measured=seconds[_OURS],
            baseline=seconds[modules],
            better="lower",
        )
        for modules in (_DAGSTER, _LIBRARIES)
    ]


def _import_seconds(modules: str) -> float:
    # In an empty folder: the settings would read a .env of this one.
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", _PROGRAM.format(modules)],
            cwd=folder,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
    return float(done.stdout)
