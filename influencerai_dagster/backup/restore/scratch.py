"""Scratch space that is emptied also after a kill: who comes next removes what a dead one left."""

import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from influencerai_dagster.backup.restore.data_dir_target import end_leftover_programs, end_leftovers

POSTGRES = "postgres"
"""In a folder: the data directory of the server that runs in it."""
_PREFIX = "drill-"
_LOCK = "lock"


@contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """Make a folder for the time of the block, and remove those whose process was killed.

    Args:
        parent: is made if it is not there.
    """
    parent.mkdir(parents=True, exist_ok=True)
    for left in parent.glob(f"{_PREFIX}*"):
        _remove_if_left(left)
    # It gets its name when it is locked: until then nobody takes it for one of a dead process.
    draft = Path(tempfile.mkdtemp(dir=parent))
    folder = draft.with_name(f"{_PREFIX}{draft.name}")
    with (draft / _LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        draft.rename(folder)
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
