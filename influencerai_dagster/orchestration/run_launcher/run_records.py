"""Record in a private folder which process executes a run, so that no run has two.

`requests/<run id>` is there while a launcher waits for the start of the run. The new process of the
run removes it before it begins; a launcher that removes it first has withdrawn the request. One of
the two succeeds, whatever is frozen or killed meanwhile.

`runs/<run id>` is the record of the process. Its first line says which process it is, its second
line how that process ended. The process holds a lock (flock) on it for as long as it lives: the
record tells the truth after a crash of the fork server and in other containers, and no process id
of a later process is taken for it.
"""

import fcntl
import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

from influencerai_dagster.core.base import Value
from influencerai_dagster.errors import PermanentError
from influencerai_dagster.processes import pid_namespace, same_process

_FOLDER_NAME = "run_launcher"
KEPT_SECONDS = 3600.0
_RUN_ID = re.compile(r"[0-9a-fA-F-]{8,64}")
_OWNER_ONLY = 0o700


class RunProcess(Value):
    """The process of a run.

    Attributes:
        pid: its id in its own pid namespace.
        started: its start time as psutil tells it, in seconds since 1970.
        namespace: the pid namespace in which it has its id.
    """

    pid: int
    started: float
    namespace: int

    @classmethod
    def current(cls) -> "RunProcess":
        """Describe this process."""
        started = psutil.Process().create_time()
        return cls(pid=os.getpid(), started=started, namespace=pid_namespace())

    def find(self) -> psutil.Process | None:
        """Return the process, or None if it has ended or has its id in another namespace."""
        return same_process(self.pid, self.started) if self.namespace == pid_namespace() else None


class RunRecord(Value):
    """What is recorded of a run.

    Attributes:
        is_alive: whether the process exists.
        is_end_recorded: whether a fork server has noticed that it ended.
        exit_code: of the process that ended; −N if signal N ended it. None while it is alive, and
            if it ended while no fork server was there to see it.
    """

    run_id: str
    process: RunProcess
    is_alive: bool
    is_end_recorded: bool = False
    exit_code: int | None = None


class StartedBeforeError(PermanentError):
    """A run was to be started that has a process, or had one."""


class WithdrawnError(PermanentError):
    """A run was to be started after its launcher had withdrawn the request."""


class RunFolder:
    """The folder of a fork server."""

    def __init__(self, path: Path) -> None:
        """Name the folder; nothing is read or written.

        Args:
            path: `run_launcher` in DAGSTER_HOME.
        """
        self.path = path
        self._requests = path / "requests"
        self._runs = path / "runs"

    @classmethod
    def below(cls, dagster_home: Path) -> "RunFolder":
        """Return the folder of a Dagster instance."""
        return cls(dagster_home / _FOLDER_NAME)

    def make(self) -> None:
        """Make the folder, for its owner alone.

        Raises:
            OSError: it cannot be made.
        """
        self.path.mkdir(parents=True, exist_ok=True, mode=_OWNER_ONLY)
        self.path.chmod(_OWNER_ONLY)
        for folder in (self._requests, self._runs):
            folder.mkdir(exist_ok=True, mode=_OWNER_ONLY)

    def request(self, run_id: str) -> None:
        """Ask for the start of a run.

        Raises:
            OSError: the request cannot be written.
        """
        (self._requests / _checked(run_id)).touch()

    def withdraw(self, run_id: str) -> bool:
        """Take back the request for a run.

        Returns:
            Whether it was taken back; if not, the run has been started.
        """
        try:
            (self._requests / _checked(run_id)).unlink()
        except FileNotFoundError:
            return False
        return True

    def begin(self, run_id: str) -> int:
        """Record that this process executes a run, before it does.

        Returns:
            The file descriptor of the record, which has to stay open until the process ends.

        Raises:
            StartedBeforeError: the run has a process or had one.
            WithdrawnError: the launcher no longer waits.
            OSError: the record cannot be written, as on a full disk.
        """
        staging = self._runs / f".{_checked(run_id)}-{os.getpid()}"
        descriptor = os.open(staging, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            _write_line(descriptor, RunProcess.current().model_dump_json())
            self._take(run_id, staging)
        except BaseException:
            os.close(descriptor)
            raise
        finally:
            staging.unlink()
        # A process that is forked by this one must not keep the lock.
        os.register_at_fork(after_in_child=lambda: os.close(descriptor))
        return descriptor

    def _take(self, run_id: str, staging: Path) -> None:
        if not self.withdraw(run_id):
            raise WithdrawnError(f"run {run_id} is not started: its launcher did not wait")
        try:
            (self._runs / run_id).hardlink_to(staging)
        except FileExistsError:
            raise StartedBeforeError(
                f"run {run_id} is not started: it has a process already, or had one"
            ) from None

    def end(self, run_id: str, exit_code: int | None) -> None:
        """Record how the process of a run ended.

        Args:
            run_id: of the run.
            exit_code: as in `RunRecord`.

        Raises:
            OSError: the record cannot be written.
        """
        descriptor = os.open(self._runs / _checked(run_id), os.O_WRONLY | os.O_APPEND)
        try:
            _write_line(descriptor, json.dumps({"exit_code": exit_code}))
        finally:
            os.close(descriptor)

    def read(self, run_id: str) -> RunRecord | None:
        """Return the record of a run; None if no process began it, or it ended long ago."""
        try:
            descriptor = os.open(self._runs / _checked(run_id), os.O_RDONLY)
        except FileNotFoundError:
            return None
        try:
            is_alive = not _can_lock(descriptor)
            lines = os.pread(descriptor, 4096, 0).decode().splitlines()
        finally:
            os.close(descriptor)
        return RunRecord(
            run_id=run_id,
            process=RunProcess.model_validate_json(lines[0]),
            is_alive=is_alive,
            is_end_recorded=len(lines) > 1,
            exit_code=json.loads(lines[1])["exit_code"] if len(lines) > 1 else None,
        )

    def records(self) -> Iterator[RunRecord]:
        """Return the records of all runs, in no order."""
        for path in self._runs.iterdir():
            if _RUN_ID.fullmatch(path.name) and (record := self.read(path.name)) is not None:
                yield record

    def prune(self, *, kept_seconds: float = KEPT_SECONDS) -> None:
        """Delete the records of processes that ended long ago, and what killed ones left."""
        before = time.time() - kept_seconds
        for path in [*self._runs.iterdir(), *self._requests.iterdir()]:
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < before and not _is_locked(path):
                    path.unlink()


def _checked(run_id: str) -> str:
    if not _RUN_ID.fullmatch(run_id):
        raise PermanentError(f"{run_id[:80]!r} is not the id of a run")
    return run_id


def _write_line(descriptor: int, line: str) -> None:
    content = f"{line}\n".encode()
    if os.write(descriptor, content) != len(content):
        raise OSError("the record of a run was cut off: the disk is full")


def _can_lock(descriptor: int) -> bool:
    """Tell whether no process holds the lock."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_locked(path: Path) -> bool:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return not _can_lock(descriptor)
    finally:
        os.close(descriptor)
