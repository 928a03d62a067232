"""Which test files begin first, and how many of them run at a time.

xdist gives each free worker the next file: a long one that begins last keeps one worker busy while
the others have nothing to do. How xdist is called is in the Makefile.
"""

import os
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1]
LONGEST_FIRST = (
    "chaos/test_chaos.py",
    "integration/backup/restore/test_disaster_recovery.py",
    "integration/backup/",
    "chaos/",
    "integration/orchestration/test_pipeline.py",
    "integration/generation/worker/test_worker.py",
    "integration/local/test_stack.py",
    "integration/engines/comfyui/",
    "integration/orchestration/",
)


def _rank(path: Path) -> int:
    name = path.relative_to(FOLDER).as_posix()
    found = (rank for rank, start in enumerate(LONGEST_FIRST) if name.startswith(start))
    return next(found, len(LONGEST_FIRST))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first; within a file nothing moves."""
    items.sort(key=lambda item: _rank(item.path))


def pytest_xdist_auto_num_workers() -> int:
    """Run one worker more than there are cores: tests wait for servers a third of their time."""
    return (os.cpu_count() or 1) + 1
