"""Lock a folder for one stack; the kernel releases the lock when its process is gone."""

import fcntl
import os
from pathlib import Path
from typing import Self

from influencerai_dagster.errors import PermanentError

LOCK_FILE = "stack.lock"


class FolderLock:
    """The lock of a folder; no process that is started while it is held inherits it.

    Args:
        folder: is made if it is not there.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._descriptor: int | None = None

    def __enter__(self) -> Self:
        self.take()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def take(self) -> None:
        """Take the lock.

        Raises:
            PermanentError: a stack runs in the folder.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        # The file stays when the lock is released: one that is removed could be locked twice.
        path = self._folder / LOCK_FILE
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 20).decode()
            os.close(descriptor)
            raise PermanentError(
                f"A stack runs in {self._folder.resolve()} already (process {holder or 'unknown'})"
                ": stop it with Ctrl-C in its terminal, or set DATA_DIR"
            ) from None
        os.truncate(descriptor, 0)
        os.write(descriptor, str(os.getpid()).encode())
        self._descriptor = descriptor

    def release(self) -> None:
        """Release the lock, if it was taken."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
