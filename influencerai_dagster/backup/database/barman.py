"""Take and list physical backups of a PostgreSQL server with Barman, by streaming replication.

Which kind is taken is decided in databases.py. Source: docs.pgbarman.org, release 3.19.
"""

import os
import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_fixed

from influencerai_dagster.backup.database.backups import (
    BackupInfo,
    BackupKind,
    BackupStatus,
    newest_whole,
)
from influencerai_dagster.backup.database.barman_files import (
    config_text,
    libpq_conninfo,
    read_backups,
    segment_bytes,
)
from influencerai_dagster.backup.database.barman_program import (
    BACKUP_STOP_SECONDS,
    end_orphans,
    run_barman,
    script,
)
from influencerai_dagster.backup.database.base_files import verify_files
from influencerai_dagster.backup.database.pruning import deletable, losing_wal_by_deletion, obsolete
from influencerai_dagster.backup.database.timelines import refuse_left_timeline, timeline_from
from influencerai_dagster.backup.database.wal_archive import (
    WalArchive,
    missing_wal,
    read_wal_archive,
)
from influencerai_dagster.backup.database.wal_switch import archive_all, begin_segment
from influencerai_dagster.errors import (
    BackupRefusedError,
    InfluencerAIError,
    InsufficientStorageError,
    PermanentError,
    TransientError,
)
from influencerai_dagster.files import write_whole
from influencerai_dagster.processes import owned_environment
from influencerai_dagster.program_environment import POSTGRES_CLIENT

_MB = 1000**2
_CONNECTING = {"receive wal running", "replication slot"}
"""Checks that fail while a receiver that was just started is not connected yet."""
_POLL_SECONDS = 0.2
_NAMING = timedelta(minutes=1)
"""Longest time from our reading of the clock to Barman's."""


def _name_at(moment: datetime) -> str:
    """Return the name that Barman gives to a backup."""
    return f"{moment:%Y%m%dT%H%M%S}"


@dataclass(frozen=True)
class BarmanServer:
    """A PostgreSQL server and the folder of its backups.

    Attributes:
        home: Barman's folder, made on first use; the server's files are in `<home>/<name>/`.
        database_url: of a user with REPLICATION who may call the backup functions.
        name: Barman's name of the server.
        slot_name: replication slot that keeps WAL on the server until it was received.
        retention_days: the recovery window.
        postgres_bin_dir: pg_basebackup, pg_receivewal and pg_combinebackup of the server's major
            version; None is PATH.
        connect_seconds: how long a backup waits for a receiver that was just started.
    """

    home: Path
    database_url: str
    name: str = "influencerai"
    slot_name: str = "influencerai_backup"
    retention_days: int = 30
    postgres_bin_dir: Path | None = None
    connect_seconds: float = 10.0

    @property
    def folder(self) -> Path:
        """Barman's folder of this server."""
        return self.home.resolve() / self.name

    @property
    def config_path(self) -> Path:
        """Barman's configuration file; it does not contain the password."""
        return self.home.resolve() / "barman.conf"

    @property
    def conninfo(self) -> str:
        """The URL without its password as keywords and values, which Barman reads."""
        return libpq_conninfo(self.database_url)[0]

    @property
    def environment(self) -> dict[str, str]:
        """The complete environment of Barman and its children, with the password."""
        environment = owned_environment(*POSTGRES_CLIENT)
        environment |= libpq_conninfo(self.database_url)[1]
        if self.postgres_bin_dir is not None:
            path = environment.get("PATH", os.defpath)
            environment["PATH"] = f"{self.postgres_bin_dir.resolve()}{os.pathsep}{path}"
        return environment

    def write_config(self) -> Path:
        """Write Barman's configuration if it differs, and make its folders.

        Raises:
            InsufficientStorageError: the disk is full.
        """
        home = self.home.resolve()
        for folder in (home, home / "locks", home / "conf.d"):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        text = config_text(
            home=home,
            name=self.name,
            conninfo=self.conninfo,
            slot_name=self.slot_name,
            retention_days=self.retention_days,
            postgres_bin_dir=self.postgres_bin_dir,
        )
        if not self.config_path.exists() or self.config_path.read_text() != text:
            try:
                write_whole(self.config_path, text.encode())
            except OSError:
                self.check_space()
                raise
        return self.config_path

    def check_space(self) -> None:
        """Check that there is space for WAL: without it every backup waits for WAL.

        Raises:
            InsufficientStorageError: there is not.
        """
        free, needed = shutil.disk_usage(self.home).free, segment_bytes(self.folder)
        if free < needed:
            raise InsufficientStorageError(
                f"BACKUP_HOME ({self.home}) is full: {free / _MB:.0f} MB are free, a segment of "
                f"WAL takes {needed / _MB:.0f}. Make space there: until then the database keeps "
                "all WAL on its own disk"
            )

    def backup(self, kind: BackupKind) -> BackupInfo:
        """Take a backup and wait for the WAL that it needs.

        Backups that were killed are removed first. An incremental backup is based on the last full
        one, never on another incremental one: a broken one then affects no other.

        Raises:
            TransientError: another backup runs, the server is away, or Barman failed; the next
                backup removes the copied files.
            InsufficientStorageError: the disk of the backups is full.
            PermanentError: a restore has moved this server aside.
        """
        if kind is BackupKind.DUMP:
            raise PermanentError("Barman takes full and incremental backups, not dumps")
        self.remove_unfinished()
        self.check_space()
        refuse_left_timeline(self.database_url, self.folder)
        listed = self.list_backups()
        self._check_name_is_free(listed)
        before = {backup.backup_id for backup in listed}
        options = []
        if kind is BackupKind.INCREMENTAL:
            parent = newest_whole(listed, BackupKind.FULL)  # Barman's "latest-full" is by name
            if parent is None:
                raise PermanentError(
                    "There is no full backup for an incremental one: take a full one first"
                )
            options = ["--incremental", parent.backup_id]
        try:
            answer = self._take(options)
            self.switch_wal()  # completes the last segment that the backup needs
            self._run("check-backup", self.name, str(answer.get("backup_id")))
        except InsufficientStorageError:
            with suppress(InfluencerAIError):
                self.remove_unfinished()  # WAL needs the space more
            raise
        found = {backup.backup_id: backup for backup in self.list_backups()}
        backup = found.get(str(answer.get("backup_id")))
        if backup is None or backup.backup_id in before or not backup.is_whole:
            state = "no backup" if backup is None else f"{backup.backup_id} as {backup.status}"
            raise TransientError(
                f"Barman reported success but left {state}: see {self.home}/barman.log"
            )
        return backup

    def list_backups(self) -> list[BackupInfo]:
        """Return all backups, oldest first, broken ones too."""
        return sorted(read_backups(self.folder), key=lambda backup: backup.position)

    def obsolete_backups(self) -> list[str]:
        """Return the ids of backups that no target time of the window needs, oldest first.

        A backup is left out while its deletion would remove WAL that another one needs.
        """
        backups, window = self.list_backups(), timedelta(days=self.retention_days)
        return [*deletable(backups, obsolete(backups, window, datetime.now(UTC)))]

    def delete(self, backup_id: str) -> None:
        """Delete a backup, the incremental ones based on it, and the WAL that only they needed.

        Raises:
            PermanentError: another backup needs that WAL, or there is no such backup.
        """
        losing_wal = losing_wal_by_deletion(self.list_backups(), backup_id)
        if losing_wal:
            raise PermanentError(
                f"Backup {backup_id} is not deleted: Barman would remove WAL that backup "
                f"{losing_wal[0].backup_id} needs, because their ids are not in the order of their "
                "WAL. It can be deleted once that backup is gone"
            )
        self._run("delete", self.name, backup_id)

    def remove_unfinished(self) -> list[str]:
        """Remove the files of backups that failed or were killed; return their ids.

        Raises:
            TransientError: a backup runs now.
        """
        unfinished = [
            backup.backup_id
            for backup in self.list_backups()
            if backup.status in {BackupStatus.EMPTY, BackupStatus.STARTED, BackupStatus.FAILED}
        ]
        for backup_id in unfinished:
            end_orphans(self.folder / "base" / backup_id, self.config_path)
            if losing_wal_by_deletion(self.list_backups(), backup_id):
                # Its entry stays until it can be deleted without loss.
                shutil.rmtree(self.data_dir(backup_id), ignore_errors=True)
            else:
                self.delete(backup_id)
        return unfinished

    def check(self) -> dict[str, str]:
        """Return Barman's failed checks of configuration, server and WAL: name → hint."""
        answer = self._run("check", self.name, ok_codes=(0, 1)).get(self.name, {})
        return {
            name.replace("_", " "): str(result.get("hint") or "failed")
            for name, result in answer.items()
            if isinstance(result, dict) and result.get("status") != "OK"
        }

    def verify(self, backup_id: str) -> None:
        """Compare the files of a backup, and of its full one, with their manifests.

        Reads every byte. The WAL is checked by `missing_wal`.

        Raises:
            PermanentError: files are missing or changed; the text names them.
        """
        for data_dir in reversed(self.chain(backup_id)):
            try:
                verify_files(data_dir)
            except PermanentError as error:
                raise PermanentError(f"Backup {backup_id} is broken: {error}") from error

    def chain(self, backup_id: str) -> list[Path]:
        """Return the data directories of a backup, that of the full one first.

        Raises:
            PermanentError: one of the backups does not exist.
        """
        found = {backup.backup_id: backup for backup in self.list_backups()}
        chain: list[Path] = []
        current: str | None = backup_id
        while current is not None:
            if current not in found:
                raise PermanentError(f"Backup {backup_id} is broken: {current} is missing")
            chain.insert(0, self.data_dir(current))
            current = found[current].parent_backup_id
        return chain

    def data_dir(self, backup_id: str) -> Path:
        """Return the folder of a backup's files."""
        return self.folder / "base" / backup_id / "data"

    def missing_wal(self, since_wal: str) -> Sequence[str]:
        """Return the missing segments between one and the newest one that it leads to."""
        timeline = timeline_from(self.folder, since_wal)
        return missing_wal(self.folder, since_wal, timeline, segment_bytes(self.folder))

    def receive_wal_command(self) -> list[str]:
        """Return the command that receives WAL until the server goes away; one runs at a time."""
        return [script(), "-c", str(self.write_config()), "receive-wal", self.name]

    def archive_wal(self) -> None:
        """Move received segments into the archive, as `barman cron` does every minute.

        Does nothing if another process is archiving, even if that one has not finished.
        """
        self._run("archive-wal", self.name)

    def archive_all_wal(self) -> None:
        """Archive received segments, or wait until another process has done it.

        Raises:
            TransientError: they are not all archived after ten minutes.
        """
        archive_all(self.folder, self.archive_wal)

    def switch_wal(self) -> None:
        """Make the server begin a new segment, and archive the one before.

        Raises:
            TransientError: it was not received within a minute.
        """
        try:
            begin_segment(self.database_url, self.folder)
        except TransientError:
            self.check_space()
            raise
        self.archive_all_wal()

    def archive_status(self) -> WalArchive:
        """Return the state of the WAL on disk; works while the server is down."""
        return read_wal_archive(self.folder)

    def _run(
        self,
        *arguments: str,
        ok_codes: tuple[int, ...] = (0,),
        stop_seconds: float | None = None,
    ) -> dict[str, Any]:
        return run_barman(
            self.write_config(),
            arguments,
            ok_codes=ok_codes,
            environment=self.environment,
            **({} if stop_seconds is None else {"stop_seconds": stop_seconds}),
        )

    def _check_name_is_free(self, backups: Sequence[BackupInfo]) -> None:
        """Refuse a backup that Barman, by its clock, would give the name of an existing one.

        It would write into that one.

        Raises:
            TransientError: the clock was set back, and there is a backup of this minute.
        """
        if any(backup.backup_id == _name_at(datetime.now(UTC)) for backup in backups):
            time.sleep(1.0)  # it was taken within this second
        now = datetime.now(UTC)
        first, last = _name_at(now), _name_at(now + _NAMING)
        for backup in backups:
            if first <= backup.backup_id <= last:
                raise TransientError(
                    f"Backup {backup.backup_id} exists already, and it is {now:%H:%M:%S} UTC: the "
                    "clock was set back, or that id is in another time zone. Try again in "
                    "two minutes"
                )

    def _begin_archive(self) -> None:
        """Archive the first segment: until then Barman refuses, as if no WAL came."""
        is_receiving = any(self.folder.glob("streaming/*"))
        if is_receiving and not any(self.folder.glob("wals/*/*")):
            self.switch_wal()

    def _take(self, options: Sequence[str]) -> dict[str, Any]:
        """Take a backup; wait for a receiver that was just started to connect."""
        retrying = Retrying(
            retry=retry_if_exception(_is_connecting),
            wait=wait_fixed(_POLL_SECONDS),
            stop=stop_after_delay(self.connect_seconds),
            reraise=True,
        )
        return retrying(self._try_to_take, options)

    def _try_to_take(self, options: Sequence[str]) -> dict[str, Any]:
        self._begin_archive()
        try:
            return self._run("backup", *options, self.name, stop_seconds=BACKUP_STOP_SECONDS)
        except BackupRefusedError as error:
            problems = self.check()  # Barman's refusal does not name them
            found = "; ".join(f"{name}: {hint}" for name, hint in problems.items())
            reason = found or f"its checks pass now: try again, or see {self.home}/barman.log"
            raise BackupRefusedError(
                f"Barman refused to take a backup of {self.name}: {reason}", problems
            ) from error


def _is_connecting(error: BaseException) -> bool:
    """Tell whether Barman only misses a receiver that is not connected yet."""
    return isinstance(error, BackupRefusedError) and error.problems.keys() <= _CONNECTING
