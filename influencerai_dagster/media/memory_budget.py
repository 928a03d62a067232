"""Limit memory over all threads and processes of a user on one machine.

Memory is counted in slots. Each slot is a file whose lock (flock) the user of the slot holds; the
kernel releases it when a process is killed. Only the holder of the gate may take slots, so that
small requests do not overtake a large one for ever, and two large ones never wait for each other.
"""

import fcntl
import math
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from influencerai_dagster.errors import PermanentError, TransientError

_MIB = 1024**2
_POLL_SECONDS = 0.005


class MemoryBudget:
    """Bytes for one purpose, shared by every process that names the same purpose.

    A holder must not ask the same budget for more: it would wait for itself.

    Args:
        purpose: part of a folder's name.
        total_bytes: the limit, the same in every process.
        slot_bytes: the least that a holder counts for.
        folder: for the locks; None is the system's temporary folder, by user.
    """

    def __init__(
        self,
        purpose: str,
        total_bytes: int,
        *,
        slot_bytes: int = 32 * _MIB,
        folder: Path | None = None,
    ) -> None:
        self._purpose = purpose
        self._slot_bytes = slot_bytes
        self._num_slots = total_bytes // slot_bytes
        self._folder = folder

    @property
    def total_bytes(self) -> int:
        """The most that can be held."""
        return self._num_slots * self._slot_bytes

    @contextmanager
    def hold(self, size_bytes: int) -> Iterator[None]:
        """Hold so much memory for the block; wait until others have released it.

        Args:
            size_bytes: more than the whole budget counts as all of it.

        Raises:
            TransientError: the locks cannot be written; the text says where.
            PermanentError: their folder belongs to another user.
        """
        wanted = min(max(1, math.ceil(size_bytes / self._slot_bytes)), self._num_slots)
        with ExitStack() as held:
            try:
                self._wait_for(wanted, held)
            except OSError as error:
                raise TransientError(
                    f"the locks of the memory for {self._purpose} cannot be written: "
                    f"{error.strerror} at {error.filename}. Make room there, or set TMPDIR to a "
                    "folder that can be written."
                ) from error
            yield

    def _wait_for(self, wanted: int, held: ExitStack) -> None:
        folder = self._open_folder()
        with _locked(folder / "gate"):
            while wanted:
                wanted -= self._take(folder, wanted, held)
                if wanted:
                    time.sleep(_POLL_SECONDS)

    def _take(self, folder: Path, wanted: int, held: ExitStack) -> int:
        """Lock up to `wanted` slots that are free now; return how many."""
        taken = 0
        for slot in range(self._num_slots):
            if taken == wanted:
                break
            file = os.open(folder / f"slot{slot:03}", os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(file)
                continue
            held.callback(os.close, file)
            taken += 1
        return taken

    def _open_folder(self) -> Path:
        user = os.getuid()
        parent = self._folder or Path(tempfile.gettempdir())
        folder = parent / f"influencerai-memory-{user}-{self._purpose}"
        folder.mkdir(mode=0o700, exist_ok=True)
        if folder.lstat().st_uid != user:  # also of a link that another user left there
            raise PermanentError(
                f"{folder} keeps the locks of the memory for {self._purpose}, but it belongs to "
                "another user of this machine. Remove it, or set TMPDIR to a folder of your own."
            )
        return folder


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)
