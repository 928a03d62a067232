"""Lets tests write into memory: their servers make and delete thousands of files.

On ext4 that took a third of the CPU time of a restore: the place of a file that was just deleted is
not used again, so that every new file has to search for another.
"""

import os
import shutil
import tempfile
from pathlib import Path

import psutil

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - folders in it are made by mkdtemp
NEEDED_BYTES = 2 * 1000**3 * ((os.cpu_count() or 1) + 1)
"""Two gigabytes for each worker of `make test`."""


def use_memory_folder(folder: Path = SHARED_MEMORY, needed_bytes: int = NEEDED_BYTES) -> bool:
    """Make a folder in memory that of temporary files, here and in programs that are started.

    Nothing changes if TMPDIR is set, or if the folder is too small or holds no programs, as in a
    container.

    Returns:
        Whether it is used.
    """
    if "TMPDIR" in os.environ or not _is_fit(folder, needed_bytes):
        return False
    os.environ["TMPDIR"] = str(folder)
    tempfile.tempdir = None  # what was found before
    return True


def _is_fit(folder: Path, needed_bytes: int) -> bool:
    try:
        free_bytes = min(shutil.disk_usage(folder).free, psutil.virtual_memory().available)
        can_hold_programs = not os.statvfs(folder).f_flag & os.ST_NOEXEC
    except OSError:
        return False
    return free_bytes >= needed_bytes and can_hold_programs and os.access(folder, os.W_OK)
