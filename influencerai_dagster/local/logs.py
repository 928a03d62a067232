"""Write and rotate the logs of a stack: one file per process, and one of the supervisor.

Processes append to their file on their own, so a file that has grown is copied and emptied: a line
that is written at that very moment may be lost.
"""

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

MAX_LOG_BYTES = 20 * 1000**2
_TAIL_LINES = 8
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
                    shutil.copyfile(path, path.with_suffix(".log.old"))
                    os.truncate(path, 0)

    def tail(self, name: str) -> str:
        """Return the end of a log, for an error."""
        path = self.path(name)
        lines = path.read_text(errors="replace").splitlines()[-_TAIL_LINES:]
        return "\n".join([f"The end of its log {path}:", *(f"  {line}" for line in lines)])
