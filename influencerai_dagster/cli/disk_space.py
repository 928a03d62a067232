"""Check the free space of a disk, for `influencerai status` and `influencerai doctor`."""

import shutil
from pathlib import Path

from influencerai_dagster.errors import PermanentError

_GIB = 1024**3


def free_space(folder: Path) -> str:
    """Return the free space of a folder's disk; the folder need not exist yet.

    Raises:
        PermanentError: less than 1 GiB is free.
    """
    path = folder.absolute()
    existing = next(item for item in (path, *path.parents) if item.exists())
    usage = shutil.disk_usage(existing)
    found = f"{usage.free / _GIB:,.1f} of {usage.total / _GIB:,.1f} GiB free at {existing}"
    if usage.free < _GIB:
        raise PermanentError(f"{found}: make space")
    return found
