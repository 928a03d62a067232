"""Barman: physical backups of a PostgreSQL server over the streaming protocol, one command each.

Which backup is taken when is in databases.py. Source: docs.pgbarman.org, release 3.19.
"""

import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from influencerai_dagster.backup.database.backups import (
    BackupInfo,
    BackupKind,
    BackupStatus,
    newest_whole,
)
from influencerai_dagster.backup.database.barman_files import read_backups, segment_bytes
from influencerai_dagster.backup.database.barman_program import (
    BACKUP_STOP_SECONDS,
    end_orphans,
    run_barman,
    script,
)
from influencerai_dagster.backup.database.barman_settings import BarmanSettings
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
    InfluencerAIError,
    InsufficientStorageError,
    PermanentError,
    TransientError,
)

_REFUSED = "Impossible to start the backup"
_CONNECTING = {"receive wal running", "replication slot"}
"""What Barman misses while a receiver that has just been started is not connected yet."""
_CONNECT_SECONDS = 10.0
_POLL_SECONDS = 0.2
_NAMING = timedelta(minutes=1)
"""How long it may take from our look at the clock to Barman's."""


class BarmanServer(BarmanSettings):
    """A PostgreSQL server and the backups of it."""

    def backup(self, kind: BackupKind) -> BackupInfo:
        """Take a backup and wait for the WAL that it needs.

        Backups that a kill left half done are removed first. An incremental one stands on the last
        full one, never on another incremental one: a broken one then breaks no other.

        Raises:
            TransientError: another backup runs, the server is away, or Barman gave up; what was
                copied is removed by the next backup.
            InsufficientStorageError: the disk of the backups is full.
            PermanentError: the server is one that a restore moved aside.
        """
        if kind is BackupKind.DUMP:
            raise PermanentError("Barman takes full and incremental backups, no dumps")
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
                raise PermanentError("There is no full backup for an incremental one to stand on")
            options = ["--incremental", parent.backup_id]
        try:
            answer = self._take(options)
            self.switch_wal()  # with it comes the last segment that the backup needs
            self._run("check-backup", self.name, str(answer.get("backup_id")))
        except InsufficientStorageError:
            with suppress(InfluencerAIError):
                self.remove_unfinished()  # WAL needs the space more
            raise
        found = {backup.backup_id: backup for backup in self.list_backups()}
        backup = found.get(str(answer.get("backup_id")))
        if backup is None or backup.backup_id in before or not backup.is_whole:
            state = "no backup" if backup is None else f"{backup.backup_id} as {backup.status}"
            raise TransientError(f"Barman ended well but left {state}: see {self.home}/barman.log")
        return backup

    def list_backups(self) -> list[BackupInfo]:
        """Return all backups, also broken ones, oldest first."""
        return sorted(read_backups(self.folder), key=lambda backup: backup.position)

    def obsolete_backups(self) -> list[str]:
        """Return the ids of those that no moment of the recovery window needs, oldest first.

        One whose deletion would take WAL from another is left out until the other is gone.
        """
        backups, window = self.list_backups(), timedelta(days=self.retention_days)
        return [*deletable(backups, obsolete(backups, window, datetime.now(UTC)))]

    def delete(self, backup_id: str) -> None:
        """Delete a backup, the incremental ones on it, and the WAL that only they needed.

        Raises:
            PermanentError: it would take WAL from another one, or is not there.
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
        """Remove what backups left that failed or were killed; return their ids.

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
                # Only its name stays, until it can be deleted without loss.
                shutil.rmtree(self.data_dir(backup_id), ignore_errors=True)
            else:
                self.delete(backup_id)
        return unfinished

    def check(self) -> dict[str, str]:
        """Return what Barman finds wrong with configuration, server and WAL: hint by check name."""
        answer = self._run("check", self.name, ok_codes=(0, 1)).get(self.name, {})
        return {
            name.replace("_", " "): str(result.get("hint") or "failed")
            for name, result in answer.items()
            if isinstance(result, dict) and result.get("status") != "OK"
        }

    def verify(self, backup_id: str) -> None:
        """Compare the files of a backup, and of the one it stands on, with their manifests.

        Reads every byte. The WAL is looked at by `missing_wal`.

        Raises:
            PermanentError: files are missing or changed; the text names them.
        """
        for data_dir in reversed(self.chain(backup_id)):
            try:
                verify_files(data_dir)
            except PermanentError as error:
                raise PermanentError(f"Backup {backup_id} is broken: {error}") from error

    def chain(self, backup_id: str) -> list[Path]:
        """Return the data directories that a backup is put together from, the full one first.

        Raises:
            PermanentError: one of the backups is not there.
        """
        found = {backup.backup_id: backup for backup in self.list_backups()}
        chain: list[Path] = []
        current: str | None = backup_id
        while current is not None:
            if current not in found:
                raise PermanentError(f"Backup {backup_id} is broken: {current} is not there")
            chain.insert(0, self.data_dir(current))
            current = found[current].parent_backup_id
        return chain

    def data_dir(self, backup_id: str) -> Path:
        """Return where the files of a backup are."""
        return self.folder / "base" / backup_id / "data"

    def missing_wal(self, since_wal: str) -> Sequence[str]:
        """Return the segments that are not there between one and the newest that it leads to."""
        timeline = timeline_from(self.folder, since_wal)
        return missing_wal(self.folder, since_wal, timeline, segment_bytes(self.folder))

    def receive_wal_command(self) -> list[str]:
        """Return the program that receives WAL until the server goes away; one runs at a time."""
        return [script(), "-c", str(self.write_config()), "receive-wal", self.name]

    def archive_wal(self) -> None:
        """Move received segments into the archive, as `barman cron` does every minute.

        Does nothing if another process does it now, which may be in the middle of many.
        """
        self._run("archive-wal", self.name)

    def archive_all_wal(self) -> None:
        """Move received segments into the archive, or wait until another process has done it.

        Raises:
            TransientError: they are not all there after ten minutes.
        """
        archive_all(self.folder, self.archive_wal)

    def switch_wal(self) -> None:
        """Let the server begin a new segment, and archive the one before.

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
        """Return what of the WAL is on disk; works while the server is down."""
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
        """Refuse to begin where Barman would name the backup, by its clock, as one that is there.

        It would write into that one.

        Raises:
            TransientError: the clock was set back, and there is a backup of this minute.
        """
        now = datetime.now(UTC)
        first, last = (f"{moment:%Y%m%dT%H%M%S}" for moment in (now, now + _NAMING))
        for backup in backups:
            if first <= backup.backup_id <= last:
                raise TransientError(
                    f"There is a backup {backup.backup_id} already, and it is {now:%H:%M:%S} UTC: "
                    "the clock was set back, or that name is of another time zone. Try again in "
                    "two minutes"
                )

    def _begin_archive(self) -> None:
        """Have the first segment archived: until then Barman refuses, as if no WAL came."""
        is_receiving = any(self.folder.glob("streaming/*"))
        if is_receiving and not any(self.folder.glob("wals/*/*")):
            self.switch_wal()

    def _take(self, options: Sequence[str]) -> dict[str, Any]:
        """Take it as soon as a receiver that has just been started is connected."""
        deadline = time.monotonic() + _CONNECT_SECONDS
        while True:
            self._begin_archive()
            try:
                return self._run("backup", *options, self.name, stop_seconds=BACKUP_STOP_SECONDS)
            except InfluencerAIError as error:
                if _REFUSED not in str(error):
                    raise
                problems = self.check()  # its refusal names nothing
                if problems.keys() - _CONNECTING or time.monotonic() > deadline:
                    raise self._refusal(problems) from error
            time.sleep(_POLL_SECONDS)

    def _refusal(self, problems: Mapping[str, str]) -> TransientError:
        found = "; ".join(f"{name}: {hint}" for name, hint in problems.items())
        return TransientError(
            f"Barman refused to take a backup of {self.name}: "
            f"{found or f'it has no reason any more: try again, or see {self.home}/barman.log'}"
        )
