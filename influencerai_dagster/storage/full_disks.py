"""Object stores on this machine that do not say when their disk is full.

`rclone serve s3` answers an upload that found no space like any fault of its own: InternalError,
without a word of the disk (measured, 1.75.2). Whoever knows its folder can look.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from influencerai_dagster.errors import InsufficientStorageError, TransientError

_MARGIN_BYTES = 1024**2
"""Other files that come at the same time, and what a file system keeps for itself."""


@contextmanager
def full_disk_told(disk: Path | None, size_bytes: int) -> Iterator[None]:
    """Raise InsufficientStorageError where an upload fails and its disk has no space for it.

    Args:
        disk: a folder on the disk of the object store (S3_DISK); None looks at nothing.
        size_bytes: of what is uploaded.
    """
    try:
        yield
    except InsufficientStorageError:
        raise
    except TransientError as error:
        if disk is None:
            raise
        free_bytes = shutil.disk_usage(disk).free
        if free_bytes >= size_bytes + _MARGIN_BYTES:
            raise
        raise InsufficientStorageError(
            f"{error}. Its disk is full: {free_bytes:,} bytes are free at {disk} and "
            f"{size_bytes:,} were needed; free space on the object store and try again"
        ) from error
