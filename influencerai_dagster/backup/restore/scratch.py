"""Make scratch space for drills; the next drill removes a folder that a killed one left."""

import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from influencerai_dagster.backup.restore.data_dir_target import end_leftover_programs, end_leftovers

POSTGRES = "postgres"
"""The data directory in a scratch folder."""
_PREFIX = "drill-"
_LOCK = "lock"


@contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """Make a folder for the block, and remove those of killed processes.

    Args:
        parent: is made if it is not there.
    """
    parent.mkdir(parents=True, exist_ok=True)
    for left in parent.glob(f"{_PREFIX}*"):
        _remove_if_left(left)
    # Renamed once it is locked: before that no other drill takes it for that of a killed one.
    new = Path(tempfile.mkdtemp(dir=parent))
    folder = new.with_name(f"{_PREFIX}{new.name}")
    with (new / _LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        new.rename(folder)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _remove_if_left(folder: Path) -> None:
    try:
        with (folder / _LOCK).open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            end_leftovers(folder / POSTGRES)
            end_leftover_programs(str(folder))
            shutil.rmtree(folder, ignore_errors=True)
    except (BlockingIOError, FileNotFoundError):  # it is in use, or removed by now
        return
