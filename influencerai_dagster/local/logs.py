"""Write and rotate the logs of a stack: one file per process, and one of the supervisor.

Processes append to their file on their own, so a file that has grown cannot be renamed: its head is
copied and then removed by fallocate(2), and a line that is written meanwhile stays. Where the file
system cannot do that (tmpfs, btrfs), the file is copied and emptied: a line that is written at that
very moment is lost.
"""

import ctypes
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

MAX_LOG_BYTES = 20 * 1000**2
_TAIL_LINES = 8
_COLLAPSE_RANGE = 0x08  # FALLOC_FL_COLLAPSE_RANGE of linux/falloc.h: ext4 and XFS have it
_OWN = "supervisor"


class Logs:
    """The folder of logs.

    Args:
        folder: of the logs.
        announce: gets each note, with the time of day.
        max_bytes: of a log before a new one begins; the newest full one is kept as `.log.old`.
    """

    def __init__(self, folder: Path, announce: Callable[[str], None], *, max_bytes: int) -> None:
        self.folder = folder
        self._announce = announce
        self._max_bytes = max_bytes

    def prepare(self) -> None:
        """Make the folder, and put aside what an earlier run has filled."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.rotate()

    def path(self, name: str) -> Path:
        """Return the log of a process."""
        return self.folder / f"{name}.log"

    def note(self, text: str) -> None:
        """Log what the supervisor saw or did, and announce it.

        A full disk, or a terminal that is gone, must not end the supervision.
        """
        now = datetime.now(UTC).astimezone()
        with suppress(OSError), self.path(_OWN).open("a", encoding="utf-8") as log:
            log.write(f"{now.isoformat(timespec='seconds')} {text}\n")
        with suppress(OSError, ValueError):
            self._announce(f"{now:%H:%M:%S} {text}")

    def rotate(self) -> None:
        """Put aside what has grown too large."""
        for path in self.folder.glob("*.log"):
            with suppress(OSError):  # a full disk; the next time
                if path.stat().st_size > self._max_bytes:
                    put_aside(path)

    def tail(self, name: str) -> str:
        """Return the end of a log, for an error."""
        path = self.path(name)
        lines = path.read_text(errors="replace").splitlines()[-_TAIL_LINES:]
        return "\n".join([f"The end of its log {path}:", *(f"  {line}" for line in lines)])


def put_aside(path: Path) -> bool:
    """Move what a log has to `.log.old`; its last block may stay, in the middle of a line.

    Returns:
        Whether the file system removed the head; if not, a line may be lost.
    """
    with path.open("r+b") as log, path.with_suffix(".log.old").open("wb") as old:
        block_bytes = os.fstatvfs(log.fileno()).f_bsize
        head_bytes = (os.fstat(log.fileno()).st_size - 1) // block_bytes * block_bytes
        shutil.copyfileobj(log, old)
        if _remove_head(log.fileno(), head_bytes):
            old.truncate(head_bytes)
            return True
        log.truncate(0)
        return False


def _remove_head(file: int, size_bytes: int) -> bool:
    """Remove the first bytes of an open file, whole blocks; False if that is not possible."""
    fallocate = ctypes.CDLL(None).fallocate
    fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    return bool(fallocate(file, _COLLAPSE_RANGE, 0, size_bytes) == 0)
