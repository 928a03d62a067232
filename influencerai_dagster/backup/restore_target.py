"""The data directory that a restore writes: what may be there before, and how it gets its place.

A restored directory is made beside its place and renamed into it when it is whole, so that nobody
starts a PostgreSQL on half of one.
"""

import os
import shutil
import signal
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil

from influencerai_dagster.errors import PermanentError

_LOCK = "postmaster.pid"
_RECOVERY_SETTINGS = ("restore_command", "recovery_")
_STOP_SECONDS = 60.0


@dataclass(frozen=True)
class RestoreTarget:
    """Where the database goes.

    Attributes:
        data_dir: absolute; its parent is made if it is missing.
    """

    data_dir: Path

    @property
    def draft(self) -> Path:
        """Where it is made."""
        return self.data_dir.with_name(f"{self.data_dir.name}.restoring")

    @property
    def journal_path(self) -> Path:
        """Where the steps are written down."""
        return self.data_dir.with_name(f"{self.data_dir.name}.restore.json")

    def problem(self, *, is_forced: bool) -> str | None:
        """Say why nothing may be restored there, or None if it may."""
        process = running_postgres(self.data_dir)
        if process is not None:
            return (
                f"PostgreSQL runs in {self.data_dir} (process {process}): stop it first, also with "
                "--force"
            )
        if self.data_dir.exists() and not self.data_dir.is_dir():
            return f"{self.data_dir} is no folder: name another with --into"
        if not is_forced and _has_content(self.data_dir):
            return (
                f"{self.data_dir} is not empty: name a new folder with --into, or use --force, "
                "which moves what is there aside"
            )
        return None

    def check(self, *, is_forced: bool) -> None:
        """Raise PermanentError if nothing may be restored there."""
        problem = self.problem(is_forced=is_forced)
        if problem is not None:
            raise PermanentError(problem)

    def can_be_replayed(self) -> bool:
        """Tell whether the draft is a copied backup that nobody opened for writing yet."""
        return (self.draft / "recovery.signal").exists() and (self.draft / "barman_wal").is_dir()

    def end_orphans(self) -> None:
        """End what a killed restore left running: PostgreSQL in its draft, programs that copy."""
        server = running_postgres(self.draft)
        for process in psutil.process_iter(["cmdline"]):
            words = process.info["cmdline"] or []
            if process.pid == os.getpid() or not any(str(self.draft) in word for word in words):
                continue
            with suppress(psutil.NoSuchProcess):
                if process.pid == server:
                    process.send_signal(signal.SIGINT)
                else:
                    process.kill()
                process.wait(_STOP_SECONDS)

    def clear_draft(self) -> None:
        """Remove what an earlier try left; half of a database is of use to nobody."""
        if self.draft.exists():
            shutil.rmtree(self.draft)
        self.draft.parent.mkdir(parents=True, exist_ok=True)

    def put_in_place(self, *, is_forced: bool) -> Path | None:
        """Move the draft to its place, and what is there aside.

        Returns:
            Where the former content is now; None if there was none.
        """
        self.check(is_forced=is_forced)
        aside = None
        if _has_content(self.data_dir):
            stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
            aside = self.data_dir.with_name(f"{self.data_dir.name}.replaced-{stamp}")
            self.data_dir.replace(aside)
        _forget_recovery(self.draft)
        self.draft.replace(self.data_dir)  # an empty folder there is replaced
        return aside


def running_postgres(data_dir: Path) -> int | None:
    """Return the process of the PostgreSQL that runs in a data directory, or None.

    A lock that a killed server left counts only if its process id is a postgres now.
    """
    try:
        pid = int((data_dir / _LOCK).read_text().splitlines()[0])
        name = psutil.Process(pid).name()
    except (OSError, ValueError, IndexError, psutil.Error):
        return None
    return pid if "postgres" in name else None


def _forget_recovery(data_dir: Path) -> None:
    """Take out what told PostgreSQL how to recover: the next start is a usual one."""
    for name in ("postgresql.auto.conf.origin", "postgresql.conf.origin", ".barman-recover.info"):
        (data_dir / name).unlink(missing_ok=True)
    config = data_dir / "postgresql.auto.conf"
    lines = config.read_text().splitlines(keepends=True)
    kept = [line for line in lines if not line.startswith(_RECOVERY_SETTINGS)]
    with config.open("r+") as file:  # its owner stays
        file.truncate()
        file.writelines(kept)


def _has_content(folder: Path) -> bool:
    return folder.is_dir() and next(folder.iterdir(), None) is not None
