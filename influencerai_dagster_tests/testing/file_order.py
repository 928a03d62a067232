"""Which test files begin first, which share a worker, and how many run at a time.

xdist gives each free worker the next file: a long one that begins last keeps one worker busy while
the others have nothing to do. How xdist is called is in the Makefile.
"""

import os
from pathlib import Path

import pytest
from xdist.scheduler import LoadFileScheduling

FOLDER = Path(__file__).parents[1]
LONGEST_FIRST = (
    "chaos/test_chaos.py",
    "integration/backup/restore/test_disaster_recovery.py",
    "integration/backup/restore/",
    "integration/backup/",
    "chaos/",
    "integration/orchestration/test_pipeline.py",
    "integration/generation/worker/",
    "integration/local/test_stack.py",
    "integration/webserver/",
    "integration/engines/comfyui/",
    "integration/orchestration/",
)
TOGETHER = {
    "restores": (
        "integration/backup/restore/test_drill",
        "integration/backup/restore/test_old_settings.py",
        "integration/backup/restore/test_restore",
        "integration/backup/verification/test_object_repair.py",
    ),
    "texts": ("unit/test_docs.py", "unit/test_named_files.py", "unit/test_private_words.py"),
}
"""Beginnings of files that one worker runs: what they share takes seconds to make."""


class SharingScheduling(LoadFileScheduling):  # type: ignore[misc] # xdist has no types
    """Give each worker one file after the other, and all files of a group to the same worker."""

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.split("::", maxsplit=1)[0]
        name = path.removeprefix(f"{FOLDER.name}/")
        groups = (group for group, starts in TOGETHER.items() if name.startswith(starts))
        return next(groups, path)


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> SharingScheduling | None:
    """Replace `--dist loadfile`."""
    return SharingScheduling(config, log) if config.getvalue("dist") == "loadfile" else None


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
